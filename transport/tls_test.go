package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

// authority issues certificates for loopback.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	last atomic.Int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a *authority) issue() *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.last.Add(1)), Subject: pkix.Name{CommonName: "member"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// mutual sets up a member to show a certificate and to ask for one, on both sides. The certificate is looked up for each connection.
func (a *authority) mutual(shown *atomic.Pointer[tls.Certificate]) func(*TCPConfig) {
	return func(c *TCPConfig) {
		c.ServerTLS = &tls.Config{
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil },
		}
		c.ClientTLS = &tls.Config{
			RootCAs:              a.pool,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown.Load(), nil },
		}
	}
}

func shown(c *tls.Certificate) *atomic.Pointer[tls.Certificate] {
	p := new(atomic.Pointer[tls.Certificate])
	p.Store(c)
	return p
}

func TestTLSConforms(t *testing.T) {
	a := newAuthority(t)
	cert := shown(a.issue())
	conformance(t, func(t *testing.T, limits Limits) network {
		n := openTCP(t, limits)
		n.change = a.mutual(cert)
		return n
	})
}

// TestRenewedCertificatesAreShownOnNewConnections: what the callbacks return counts for each connection.
func TestRenewedCertificatesAreShownOnNewConnections(t *testing.T) {
	a := newAuthority(t)
	cert := shown(a.issue())
	seen := make(chan string, 100)
	n := openTCP(t, Limits{})
	n.change = func(c *TCPConfig) {
		a.mutual(cert)(c)
		c.ClientTLS.VerifyConnection = func(state tls.ConnectionState) error {
			seen <- state.PeerCertificates[0].SerialNumber.String()
			return nil
		}
	}
	_, _, atA, _ := pair(t, n)
	if first, second := <-seen, <-seen; first != "2" || second != "2" {
		t.Errorf("certificates %s and %s were shown, want number 2", first, second)
	}
	cert.Store(a.issue())
	n.sever(1, 2)
	if again := <-seen; again != "3" {
		t.Errorf("certificate %s was shown after it had been renewed, want number 3", again)
	}
	atA.await("connected", 2)
}

// TestUntrustedPeersAreKeptOut has a row for each way in which TLS does not come about. Member 2 is the one that was set up wrongly; both
// are told why, once, and neither is connected.
func TestUntrustedPeersAreKeptOut(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	for _, row := range []struct {
		name, atTwo string // what member 2 is told of its attempts
		two         func(*TCPConfig)
	}{
		{"a certificate of another authority", "certificate", theirs.mutual(shown(theirs.issue()))},
		{"no client certificate", "certificate required", func(c *TCPConfig) {
			ours.mutual(shown(ours.issue()))(c)
			c.ClientTLS.GetClientCertificate = nil
		}},
		{"a certificate for another host", "", func(c *TCPConfig) {
			ours.mutual(shown(ours.issue()))(c)
			c.ClientTLS.ServerName = "elsewhere.example"
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := openTCP(t, Limits{})
			log, dials := newLogs(), make(chan struct{}, 1000)
			n.change = func(c *TCPConfig) {
				if c.Self.Member == 1 {
					ours.mutual(shown(ours.issue()))(c)
				} else {
					row.two(c)
					c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						dials <- struct{}{}
						return new(net.Dialer).DialContext(ctx, network, address)
					}
				}
				c.Logger = log.logger()
			}
			atA, atB := newRecorder(t), newRecorder(t)
			a, b := n.start(1, atA), n.start(2, atB)
			for range 4 { // the fourth dial follows three that failed
				select {
				case <-dials:
				case e := <-atB.events:
					closeAll(t, a, b)
					t.Fatalf("at 2: %v", e)
				}
			}
			log.await("made no handshake")
			trouble := b.Stats().Peers[0].Trouble
			if !strings.Contains(trouble, row.atTwo) || !strings.Contains(trouble, "tls") {
				t.Errorf("member 2's trouble is %q, want it to say %q", trouble, row.atTwo)
			}
			if len(atB.events) > 0 {
				t.Errorf("at 2: %v", <-atB.events)
			}
			for what, most := range map[string]int{"cannot connect": 2, "made no handshake": 2} { // one at each
				if got := log.count(what); got > most {
					t.Errorf("%q was logged %d times", what, got)
				}
			}
			closeAll(t, a, b)
		})
	}
}

// TestHTTPAndHTTPSDoNotMeet: one side's URLs say http and the other listens with TLS, and the other way round.
func TestHTTPAndHTTPSDoNotMeet(t *testing.T) {
	a := newAuthority(t)
	n := openTCP(t, Limits{})
	logs := map[raft.MemberID]*logs{1: newLogs(), 2: newLogs()}
	n.change = func(c *TCPConfig) {
		if c.Self.Member == 1 {
			a.mutual(shown(a.issue()))(c)
		}
		c.Logger = logs[c.Self.Member].logger()
	}
	one, two := n.start(1, newRecorder(t)), n.start(2, newRecorder(t)) // 1 speaks TLS in both directions, 2 in none
	logs[1].await("does not look like a TLS handshake")
	logs[2].await("https on one side and http on the other")
	if one.Stats().Malformed == 0 || two.Stats().Malformed == 0 {
		t.Error("bytes of another protocol are not counted as malformed")
	}
	closeAll(t, one, two)
}
