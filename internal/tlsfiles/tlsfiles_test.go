package tlsfiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates into files of a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) issue(name string, change func(*x509.Certificate)) {
	a.next++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, _ := x509.MarshalPKCS8PrivateKey(key)
	a.write(name+".crt", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", secret)
	if name == "ca" {
		a.cert, _ = x509.ParseCertificate(der)
	}
}

func (a *authority) write(name, kind string, der []byte) {
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) revoke(serial int64) {
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()}}}, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("crl.pem", "X509 CRL", der)
}

func (a *authority) files(name string) Files {
	return Files{Cert: a.path(name + ".crt"), Key: a.path(name + ".key"), TrustedCA: a.path("ca.crt"), ClientCertAuth: true}
}

func local(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }

// handshake connects a client with a server over loopback, and returns what each of them says of it.
func handshake(t *testing.T, server, client Files) (serverErr, clientErr error, state tls.ConnectionState) {
	t.Helper()
	serverConfig, err := server.Server()
	if err != nil {
		t.Fatal(err)
	}
	clientConfig, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		done <- tls.Server(conn, serverConfig).Handshake()
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), clientConfig)
	if err == nil {
		state = conn.ConnectionState()
		defer conn.Close()
	}
	return <-done, err, state
}

func TestWhoGetsIn(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", local)
	a.issue("m1", local)
	a.issue("elsewhere", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 7)} })
	a.issue("revoked", nil)
	a.revoke(a.next)
	stranger := newAuthority(t)
	stranger.issue("m1", local)
	withCA := func(f Files) Files { f.TrustedCA = a.path("ca.crt"); return f }

	for name, c := range map[string]struct {
		change func(server *Files)
		client Files
		want   string // of the server's error; empty: gets in
	}{
		"signed":                {nil, a.files("m1"), ""},
		"no certificate":        {nil, Files{TrustedCA: a.path("ca.crt")}, "didn't provide a certificate"},
		"another authority":     {nil, withCA(stranger.files("m1")), "unknown authority"},
		"client's own pair":     {nil, Files{ClientCert: a.path("m1.crt"), ClientKey: a.path("m1.key"), TrustedCA: a.path("ca.crt")}, ""},
		"right common name":     {func(s *Files) { s.AllowedCN = []string{"m2", "m1"} }, a.files("m1"), ""},
		"wrong common name":     {func(s *Files) { s.AllowedCN = []string{"m2"} }, a.files("m1"), `common name "m1" is not one of m2`},
		"right host":            {func(s *Files) { s.AllowedHost = []string{"127.0.0.1"} }, a.files("m1"), ""},
		"wrong host":            {func(s *Files) { s.AllowedHost = []string{"m9"} }, a.files("m1"), "is for none of m9"},
		"from its address":      {func(s *Files) { s.VerifyAddress = true }, a.files("m1"), ""},
		"from another address":  {func(s *Files) { s.VerifyAddress = true }, a.files("elsewhere"), "not for 127.0.0.1"},
		"revoked":               {func(s *Files) { s.CRL = a.path("crl.pem") }, a.files("revoked"), "was revoked"},
		"not the one revoked":   {func(s *Files) { s.CRL = a.path("crl.pem") }, a.files("m1"), ""},
		"no certificate needed": {func(s *Files) { s.TrustedCA, s.ClientCertAuth = "", false }, Files{TrustedCA: a.path("ca.crt")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := a.files("server")
			if c.change != nil {
				c.change(&server)
			}
			err, _, _ := handshake(t, server, c.client)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("server says %v, want %q", err, c.want)
			}
		})
	}
}

// A renewed file is shown to the next connection.
func TestRenewal(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", local)
	server, client := a.files("server"), a.files("server")
	serial := func() int64 {
		_, err, state := handshake(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	before := serial()
	a.issue("server", local)
	if after := serial(); after != before+1 {
		t.Errorf("serial %d, then %d", before, after)
	}
}

func TestVersionsAndSuites(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", local)
	server := a.files("server")
	server.MaxVersion, server.CipherSuites = "TLS1.2", []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}
	_, err, state := handshake(t, server, a.files("server"))
	if err != nil || state.Version != tls.VersionTLS12 || state.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("got %v, version %x, suite %x", err, state.Version, state.CipherSuite)
	}
}

func TestBadFiles(t *testing.T) {
	a := newAuthority(t)
	a.issue("server", nil)
	os.WriteFile(a.path("empty"), nil, 0o600)
	for name, c := range map[string]struct {
		change func(*Files)
		want   string
	}{
		"no key":         {func(f *Files) { f.Key = "" }, "TLS needs both --peer-cert-file and --peer-key-file"},
		"no such file":   {func(f *Files) { f.Cert = a.path("gone") }, "--peer-cert-file and --peer-key-file: open"},
		"not the key":    {func(f *Files) { f.Key = a.path("ca.key") }, "does not match"},
		"not PEM":        {func(f *Files) { f.Cert = a.path("empty") }, "failed to find any PEM data"},
		"no authority":   {func(f *Files) { f.TrustedCA = "" }, "--peer-client-cert-auth needs --peer-trusted-ca-file"},
		"empty CA":       {func(f *Files) { f.TrustedCA = a.path("empty") }, "holds no certificate in PEM form"},
		"CA gone":        {func(f *Files) { f.TrustedCA = a.path("gone") }, "--peer-trusted-ca-file: open"},
		"CRL gone":       {func(f *Files) { f.CRL = a.path("gone") }, "--peer-crl-file: open"},
		"not a CRL":      {func(f *Files) { f.CRL = a.path("server.crt") }, "is not a revocation list"},
		"names unasked":  {func(f *Files) { f.TrustedCA, f.ClientCertAuth, f.AllowedCN = "", false, []string{"x"} }, "only where it is required"},
		"versions":       {func(f *Files) { f.MinVersion, f.MaxVersion = "TLS1.3", "TLS1.2" }, "no version is left"},
		"suite":          {func(f *Files) { f.CipherSuites = []string{"ROT13"} }, `"ROT13" is not a TLS 1.2 cipher suite`},
		"suite of 1.3":   {func(f *Files) { f.CipherSuites = []string{"TLS_AES_128_GCM_SHA256"} }, "is not a TLS 1.2 cipher suite"},
		"suites for 1.3": {func(f *Files) { f.MinVersion, f.CipherSuites = "TLS1.3", suites()[:1] }, "leave one of them out"},
	} {
		f := a.files("server")
		f.Prefix = "peer-"
		c.change(&f)
		if _, err := f.Server(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	half := Files{ClientCert: a.path("server.crt")}
	if _, err := half.Client(); err == nil || !strings.Contains(err.Error(), "--client-cert-file and --client-key-file belong together") {
		t.Errorf("half a pair: %v", err)
	}
}
