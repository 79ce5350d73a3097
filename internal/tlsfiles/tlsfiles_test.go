package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/balsadb/balsa/internal/tlsfiles/tlstest"
)

func filesOf(a *tlstest.Authority, name string) Files {
	return Files{Cert: a.Path(name + ".crt"), Key: a.Path(name + ".key"), TrustedCA: a.Path("ca.crt"), ClientCertAuth: true}
}

// handshake connects a client with a server over loopback, and returns what each of them says of it.
func handshake(t *testing.T, server, client Files) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	serverConfig, err := server.Server()
	if err != nil {
		t.Fatal(err)
	}
	clientConfig, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, serverConfig, clientConfig)
}

func connect(t *testing.T, serverConfig, clientConfig *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
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
	return state, <-done, err
}

func TestWhoGetsIn(t *testing.T) {
	a := tlstest.New(t)
	a.Issue("server", tlstest.Loopback)
	a.Issue("m1", tlstest.Loopback)
	a.Issue("elsewhere", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 7)} })
	a.Revoke(a.Issue("revoked", nil))
	stranger := tlstest.New(t)
	stranger.Issue("m1", tlstest.Loopback)
	withCA := func(f Files) Files { f.TrustedCA = a.Path("ca.crt"); return f }

	for name, c := range map[string]struct {
		change func(server *Files)
		client Files
		want   string // of the server's error; empty: gets in
	}{
		"signed":                {nil, filesOf(a, "m1"), ""},
		"no certificate":        {nil, Files{TrustedCA: a.Path("ca.crt")}, "didn't provide a certificate"},
		"another authority":     {nil, withCA(filesOf(stranger, "m1")), "unknown authority"},
		"client's own pair":     {nil, Files{ClientCert: a.Path("m1.crt"), ClientKey: a.Path("m1.key"), TrustedCA: a.Path("ca.crt")}, ""},
		"right common name":     {func(s *Files) { s.AllowedCN = []string{"m2", "m1"} }, filesOf(a, "m1"), ""},
		"wrong common name":     {func(s *Files) { s.AllowedCN = []string{"m2"} }, filesOf(a, "m1"), `common name "m1" is not one of m2`},
		"right host":            {func(s *Files) { s.AllowedHost = []string{"127.0.0.1"} }, filesOf(a, "m1"), ""},
		"wrong host":            {func(s *Files) { s.AllowedHost = []string{"m9"} }, filesOf(a, "m1"), "is for none of m9"},
		"from its address":      {func(s *Files) { s.VerifyAddress = true }, filesOf(a, "m1"), ""},
		"from another address":  {func(s *Files) { s.VerifyAddress = true }, filesOf(a, "elsewhere"), "not for 127.0.0.1"},
		"revoked":               {func(s *Files) { s.CRL = a.Path("crl.pem") }, filesOf(a, "revoked"), "was revoked"},
		"not the one revoked":   {func(s *Files) { s.CRL = a.Path("crl.pem") }, filesOf(a, "m1"), ""},
		"no certificate needed": {func(s *Files) { s.TrustedCA, s.ClientCertAuth = "", false }, Files{TrustedCA: a.Path("ca.crt")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := filesOf(a, "server")
			if c.change != nil {
				c.change(&server)
			}
			_, err, _ := handshake(t, server, c.client)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("server says %v, want %q", err, c.want)
			}
		})
	}
}

// A renewed file is shown to the next connection.
func TestRenewal(t *testing.T) {
	a := tlstest.New(t)
	a.Issue("server", tlstest.Loopback)
	files := filesOf(a, "server")
	server, err := files.Server()
	if err != nil {
		t.Fatal(err)
	}
	client, err := files.Client()
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		state, _, err := connect(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	before := serial()
	a.Issue("server", tlstest.Loopback)
	if after := serial(); after != before+1 {
		t.Errorf("serial %d, then %d", before, after)
	}
}

func TestVersionsAndSuites(t *testing.T) {
	a := tlstest.New(t)
	a.Issue("server", tlstest.Loopback)
	server := filesOf(a, "server")
	server.MaxVersion, server.CipherSuites = "TLS1.2", []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}
	state, _, err := handshake(t, server, filesOf(a, "server"))
	if err != nil || state.Version != tls.VersionTLS12 || state.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 {
		t.Errorf("got %v, version %x, suite %x", err, state.Version, state.CipherSuite)
	}
}

func TestBadFiles(t *testing.T) {
	a := tlstest.New(t)
	a.Issue("server", nil)
	os.WriteFile(a.Path("empty"), nil, 0o600)
	for name, c := range map[string]struct {
		change func(*Files)
		want   string
	}{
		"no key":         {func(f *Files) { f.Key = "" }, "TLS needs both --peer-cert-file and --peer-key-file"},
		"no such file":   {func(f *Files) { f.Cert = a.Path("gone") }, "--peer-cert-file and --peer-key-file: open"},
		"not the key":    {func(f *Files) { f.Key = a.Path("ca.key") }, "does not match"},
		"not PEM":        {func(f *Files) { f.Cert = a.Path("empty") }, "failed to find any PEM data"},
		"no authority":   {func(f *Files) { f.TrustedCA = "" }, "--peer-client-cert-auth needs --peer-trusted-ca-file"},
		"empty CA":       {func(f *Files) { f.TrustedCA = a.Path("empty") }, "holds no certificate in PEM form"},
		"CA gone":        {func(f *Files) { f.TrustedCA = a.Path("gone") }, "--peer-trusted-ca-file: open"},
		"CRL gone":       {func(f *Files) { f.CRL = a.Path("gone") }, "--peer-crl-file: open"},
		"not a CRL":      {func(f *Files) { f.CRL = a.Path("server.crt") }, "is not a revocation list"},
		"names unasked":  {func(f *Files) { f.TrustedCA, f.ClientCertAuth, f.AllowedCN = "", false, []string{"x"} }, "only where it is required"},
		"versions":       {func(f *Files) { f.MinVersion, f.MaxVersion = "TLS1.3", "TLS1.2" }, "no version is left"},
		"suite":          {func(f *Files) { f.CipherSuites = []string{"ROT13"} }, `"ROT13" is not a TLS 1.2 cipher suite`},
		"suite of 1.3":   {func(f *Files) { f.CipherSuites = []string{"TLS_AES_128_GCM_SHA256"} }, "is not a TLS 1.2 cipher suite"},
		"suites for 1.3": {func(f *Files) { f.MinVersion, f.CipherSuites = "TLS1.3", suites()[:1] }, "leave one of them out"},
	} {
		f := filesOf(a, "server")
		f.Prefix = "peer-"
		c.change(&f)
		if _, err := f.Server(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	half := Files{ClientCert: a.Path("server.crt")}
	if _, err := half.Client(); err == nil || !strings.Contains(err.Error(), "--client-cert-file and --client-key-file belong together") {
		t.Errorf("half a pair: %v", err)
	}
}
