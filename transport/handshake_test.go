package transport

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleHello() hello {
	return hello{
		card: card{dialect: dialect{lowest: 1, highest: 3, supported: 6, required: 5}, Identity: Identity{
			Cluster: 6, Member: 7, Life: 8, DataDir: [16]byte{9, 10, 11},
		}, boot: 15, progress: 16},
		to: 12, stream: 13, ping: 14 * time.Millisecond,
	}
}

func sampleAnswer() answer {
	return answer{card: sampleHello().card, reason: ReasonCluster, version: 2, text: "because"}
}

func TestHandshakesComeBackAsTheyWere(t *testing.T) {
	h, err := readHello(bytes.NewReader(func() []byte { h := sampleHello(); return h.encode() }()))
	if err != nil || !reflect.DeepEqual(h, sampleHello()) {
		t.Errorf("hello %+v, %v", h, err)
	}
	a, err := readAnswer(bytes.NewReader(func() []byte { a := sampleAnswer(); return a.encode() }()))
	if err != nil || !reflect.DeepEqual(a, sampleAnswer()) {
		t.Errorf("answer %+v, %v", a, err)
	}
	long := answer{text: strings.Repeat("x", 10*maxReason)}
	if a, err = readAnswer(bytes.NewReader(long.encode())); err != nil || len(a.text) != maxReason {
		t.Errorf("a long reason came as %d bytes, %v", len(a.text), err)
	}
}

func TestALaterBuildMaySayMore(t *testing.T) {
	h := sampleHello()
	longer := append(h.encode()[:helloSize+presenceSize], "what later builds say"...)
	got, err := readHello(bytes.NewReader(finish(longer)))
	if want := sampleHello(); err != nil || !reflect.DeepEqual(got.card, want.card) || got.to != want.to || got.ping != want.ping {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnEarlierBuildSaysLess(t *testing.T) {
	h, want := sampleHello(), sampleHello()
	h.supported, want.supported, want.boot, want.progress = 2, 2, 0, 0
	got, err := readHello(bytes.NewReader(h.encode()))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBadHandshakesAreMalformed(t *testing.T) {
	h, a := sampleHello(), sampleAnswer()
	set := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for _, row := range []struct {
		name, reason string
		answer       bool
		bytes        []byte
	}{
		{"other magic", "not as a Balsa peer's does", false, set(h.encode(), 1, 'b')},
		{"TLS", "https on one side", false, append([]byte{0x16, 0x03, 0x01, 0, 200, 1}, make([]byte, 100)...)},
		{"TLS alert", "https on one side", true, append([]byte{0x15, 0x03, 0x03, 0, 2, 2}, make([]byte, 100)...)},
		{"HTTP", "HTTP on the peer port", false, []byte("GET /raft/stream/message/1 HTTP/1.1\r\n\r\n")},
		{"HTTP answer", "HTTP on the peer port", true, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},
		{"too short", "handshake of 79 bytes", false, set(h.encode(), 8, 79)},
		{"too long", "handshake of", false, set(h.encode(), 10, 1)},
		{"flipped bit", "checksum", false, set(h.encode(), 40, 99)},
		{"reason longer than the answer", "a reason of", true, finish(set(a.encode(), 77, 1)[:answerSize+len(a.text)])},
	} {
		var err error
		if row.answer {
			_, err = readAnswer(bytes.NewReader(row.bytes))
		} else {
			_, err = readHello(bytes.NewReader(row.bytes))
		}
		if !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), row.reason) {
			t.Errorf("%s: error %v, want one that says %q", row.name, err, row.reason)
		}
	}
	for n := range len(h.encode()) {
		if _, err := readHello(bytes.NewReader(h.encode()[:n])); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

// FuzzHandshake: no bytes panic, and what is read is what was written, but for what later builds add.
func FuzzHandshake(f *testing.F) {
	h, a := sampleHello(), sampleAnswer()
	f.Add(h.encode())
	f.Add(a.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := readHello(bytes.NewReader(b)); err == nil {
			again, err := readHello(bytes.NewReader(h.encode()))
			if err != nil || !reflect.DeepEqual(h, again) {
				t.Fatalf("%+v came back as %+v, %v", h, again, err)
			}
		}
		if a, err := readAnswer(bytes.NewReader(b)); err == nil {
			again, err := readAnswer(bytes.NewReader(a.encode()))
			if err == nil && len(a.text) > maxReason {
				a.text = a.text[:maxReason]
			}
			if err != nil || !reflect.DeepEqual(a, again) {
				t.Fatalf("%+v came back as %+v, %v", a, again, err)
			}
		}
	})
}

// TestDialects has a row for each way in which two builds go together or do not.
func TestDialects(t *testing.T) {
	for _, row := range []struct {
		name    string
		we, you dialect
		version uint16
		reason  Reason
	}{
		{"the same", dialect{1, 1, 0, 0}, dialect{1, 1, 0, 0}, 1, accepted},
		{"an older one", dialect{2, 4, 0, 0}, dialect{1, 3, 0, 0}, 3, accepted},
		{"a newer one", dialect{1, 3, 0, 0}, dialect{3, 9, 0, 0}, 3, accepted},
		{"too old", dialect{3, 4, 0, 0}, dialect{1, 2, 0, 0}, 0, ReasonVersion},
		{"too new", dialect{1, 2, 0, 0}, dialect{3, 4, 0, 0}, 0, ReasonVersion},
		{"upside down", dialect{1, 2, 0, 0}, dialect{2, 1, 0, 0}, 0, ReasonVersion},
		{"features in common", dialect{1, 1, 7, 2}, dialect{1, 1, 3, 4}, 1, accepted},
		{"you lack one", dialect{1, 1, 7, 4}, dialect{1, 1, 3, 0}, 0, ReasonFeatures},
		{"we lack one", dialect{1, 1, 3, 0}, dialect{1, 1, 7, 4}, 0, ReasonFeatures},
	} {
		version, refusal := row.we.agree(row.you)
		reason := accepted
		if refusal != nil {
			reason = refusal.Reason
		}
		if version != row.version || reason != row.reason {
			t.Errorf("%s: version %d, %v; want %d, %v", row.name, version, refusal, row.version, row.reason)
		}
	}
}

func TestURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"http://10.0.0.1:2380":     "10.0.0.1:2380",
		"https://[::1]:2380/":      "[::1]:2380",
		"http://db1.example.:2380": "db1.example.:2380",
		"tcp://10.0.0.1:2380":      "", "http://10.0.0.1": "", "10.0.0.1:2380": "", "http://:2380": "",
		"http://a:1/path": "", "http://a:1?q": "", "http://me@a:1": "", "http://a:b": "", "": "",
	} {
		urls, err := parseURLs([]string{raw})
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was taken", raw)
		case want != "" && (err != nil || urls[0].address != want):
			t.Errorf("%q: %+v, %v", raw, urls, err)
		}
	}
	if _, err := parseURLs(nil); err == nil {
		t.Error("no URL at all was taken")
	}
}
