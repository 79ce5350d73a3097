package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/balsadb/balsa/internal/tlsfiles"
	"github.com/balsadb/balsa/internal/tlsfiles/tlstest"
)

// serveTLS adds a listener with TLS, as etcd's flags would have it, and returns a client's side of it.
func serveTLS(t *testing.T, s *Server, mutual bool) (address string, client *tls.Config) {
	t.Helper()
	authority := tlstest.New(t)
	authority.Issue("server", tlstest.Loopback)
	authority.Issue("client", nil)
	files := tlsfiles.Files{Cert: authority.Path("server.crt"), Key: authority.Path("server.key")}
	if mutual {
		files.TrustedCA, files.ClientCertAuth, files.AllowedCN = authority.Path("ca.crt"), true, []string{"client"}
	}
	config, err := files.Server()
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener, config) }()
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	client = &tls.Config{RootCAs: x509.NewCertPool()}
	pem, err := os.ReadFile(authority.Path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	client.RootCAs.AppendCertsFromPEM(pem)
	if mutual {
		certificate, err := tls.LoadX509KeyPair(authority.Path("client.crt"), authority.Path("client.key"))
		if err != nil {
			t.Fatal(err)
		}
		client.Certificates = []tls.Certificate{certificate}
	}
	return listener.Addr().String(), client
}

// One port, four kinds of clients: gRPC and HTTP, in the clear and over TLS.
func TestOnePortServesAll(t *testing.T) {
	member := startStore(t)
	for _, mutual := range []bool{false, true} {
		secure, config := serveTLS(t, member.server, mutual)
		for _, test := range []struct {
			scheme, address string
			config          *tls.Config
		}{{"http", member.address, nil}, {"https", secure, config}} {
			t.Run(fmt.Sprintf("%s, mutual %v", test.scheme, mutual), func(t *testing.T) {
				client, err := clientv3.New(clientv3.Config{Endpoints: []string{test.scheme + "://" + test.address}, TLS: test.config})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if _, err := client.Put(t.Context(), "k", "v"); err != nil {
					t.Errorf("gRPC: %v", err)
				}
				// A client that would take HTTP/2 or HTTP/1.1, as Prometheus does.
				transport := &http.Transport{TLSClientConfig: test.config.Clone(), ForceAttemptHTTP2: true}
				defer transport.CloseIdleConnections()
				response, err := (&http.Client{Transport: transport}).Get(test.scheme + "://" + test.address + "/version")
				if err != nil {
					t.Fatalf("HTTP: %v", err)
				}
				defer response.Body.Close()
				if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), `"etcdserver":"3.7.`) {
					t.Errorf("HTTP: %s %s", response.Status, body)
				}
			})
		}
	}
}

// A client without application protocol negotiation is told apart by what it says.
func TestTLSWithoutALPN(t *testing.T) {
	member := startStore(t)
	secure, config := serveTLS(t, member.server, false)
	conn, err := tls.Dial("tcp", secure, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if status := getHealth(t, conn); status != http.StatusOK {
		t.Errorf("HTTP/1: status %d", status)
	}
	for offered, want := range map[string]string{"h2": "h2", "http/1.1": "http/1.1", "h2,http/1.1": "http/1.1"} {
		config := config.Clone()
		config.NextProtos = strings.Split(offered, ",")
		conn, err := tls.Dial("tcp", secure, config)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("offered %s, negotiated %q, want %q", offered, got, want)
		}
		conn.Close()
	}
}

func TestClientsWithTheWrongCertificateAreRefused(t *testing.T) {
	member := startStore(t)
	secure, config := serveTLS(t, member.server, true)
	without := config.Clone()
	without.Certificates = nil
	for what, config := range map[string]*tls.Config{"none": without, "an authority's that is not known": {InsecureSkipVerify: true}} {
		conn, err := grpc.NewClient(secure, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err == nil {
			t.Errorf("a client with %s was served", what)
		}
		conn.Close()
	}
}

func getHealth(t *testing.T, conn net.Conn) int {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// The first bytes may arrive one by one, and may be nonsense.
func TestSniff(t *testing.T) {
	for _, test := range []struct {
		sent  []string
		http2 bool
		err   error
	}{
		{sent: []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, http2: true},
		{sent: []string{"P", "R", "I", " ", "* HTTP"}, http2: true},
		{sent: []string{"GET / HTTP/1.1"}},
		{sent: []string{"P", "OST / HTTP/1.1"}},
		{sent: []string{"PR", "OPFIND / HTTP/1.1"}},
		{sent: []string{"PRIV / HTTP/1.1"}},
		{sent: []string{"\x16\x03\x01 a TLS hello in the clear"}},
		{sent: []string{"PRI"}, err: io.EOF},
		{sent: nil, err: io.EOF},
	} {
		server, client := net.Pipe()
		go func() {
			for _, part := range test.sent {
				io.WriteString(client, part)
			}
			client.Close()
		}()
		conn, http2, err := sniff(server, nil)
		if http2 != test.http2 || !errors.Is(err, test.err) {
			t.Errorf("%q: HTTP/2 %v, error %v", test.sent, http2, err)
		}
		if err != nil {
			continue
		}
		if all, _ := io.ReadAll(conn); string(all) != strings.Join(test.sent, "") {
			t.Errorf("%q: read as %q", test.sent, all)
		}
	}
}

// A connection that never says what it wants does not hold up the end, or anybody else.
func TestStopWithSilentConnections(t *testing.T) {
	member := startStore(t)
	secure, _ := serveTLS(t, member.server, false)
	for _, address := range []string{member.address, secure} {
		for _, said := range []string{"", "PR", "\x16"} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, said)
		}
	}
	if _, err := newClient(t, member.address).Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
	if err := member.server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", member.address); err == nil {
		t.Error("a stopped server still accepts")
	}
}

// What is in progress is answered before the server stops, unless that takes longer than it may.
func TestStopLetsRequestsEnd(t *testing.T) {
	member := startStore(t)
	kv := pb.NewKVClient(dial(t, member.address))
	begun, proceed := member.hold()
	answered := make(chan error, 1)
	go func() {
		_, err := kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		answered <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- member.server.Stop(context.Background()) }()
	close(proceed)
	if err := <-answered; err != nil {
		t.Errorf("a request in progress was answered %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	member := startStore(t)
	kv := pb.NewKVClient(dial(t, member.address))
	begun, proceed := member.hold()
	defer close(proceed)
	answered := make(chan error, 1)
	go func() {
		_, err := kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		answered <- err
	}()
	<-begun
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := member.server.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped with %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("a request that could not end was answered")
	}
}
