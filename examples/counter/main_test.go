package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/balsadb/balsa"
)

// member is one of three in this process, with a log on disk and TCP between them.
type member struct {
	host *balsa.Host
	web  *httptest.Server
}

func startThree(t *testing.T) (all [3]*member) {
	t.Helper()
	members := map[balsa.MemberID]string{}
	var listeners [3]net.Listener
	for i := range all {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i], members[balsa.MemberID(i+1)] = listener, listener.Addr().String()
	}
	for i := range all {
		host, s, err := start(balsa.Options{Dir: t.TempDir(), Member: balsa.MemberID(i + 1), Members: members, Listener: listeners[i]})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = &member{host, httptest.NewServer(s.handler())}
		t.Cleanup(func() {
			all[i].web.Close()
			if err := host.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return all
}

// get asks until the answer is a success: there may be no leader at first, and none for a moment after one has died.
func (m *member) get(t *testing.T, method, path string) string {
	t.Helper()
	for range 100 {
		request, err := http.NewRequestWithContext(t.Context(), method, m.web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := m.web.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		switch response.StatusCode {
		case http.StatusOK:
			return strings.TrimSpace(string(body))
		case http.StatusServiceUnavailable: // nothing was added: trying again is right
		default:
			t.Fatalf("%s %s: %s: %s", method, path, response.Status, body)
		}
	}
	t.Fatalf("%s %s: never served", method, path)
	return ""
}

func TestThreeMembersCountTogether(t *testing.T) {
	all := startThree(t)
	if got := all[0].get(t, "POST", "/add?n=5"); got != "5" {
		t.Errorf("after adding 5 on member 1: %s", got)
	}
	if got := all[1].get(t, "GET", "/value"); got != "5" {
		t.Errorf("member 2 says %s", got)
	}
	if got := all[2].get(t, "POST", "/add?n=-2"); got != "3" {
		t.Errorf("after adding -2 on member 3: %s", got)
	}
	if err := all[0].host.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := all[1].get(t, "POST", "/add?n=10"); got != "13" {
		t.Errorf("after adding 10 without member 1: %s", got)
	}
	if got := all[2].get(t, "GET", "/value"); got != "13" {
		t.Errorf("member 3 says %s", got)
	}
}

func TestBadRequestsAndFlags(t *testing.T) {
	s := &server{counter: &counter{}}
	recorder := httptest.NewRecorder()
	s.handler().ServeHTTP(recorder, httptest.NewRequest("POST", "/add?n=many", nil))
	if recorder.Code != http.StatusBadRequest {
		t.Errorf("n=many gives %d", recorder.Code)
	}
	for _, text := range []string{"", "localhost:7001", "0=localhost:7001", "x=localhost:7001"} {
		if _, err := parseMembers(text); err == nil {
			t.Errorf("-members %q was taken", text)
		}
	}
}
