// Package tlsfiles makes TLS configurations from the files that etcd's flags name.
//
// Certificates and keys are read for each handshake, so that renewing the files renews what is shown, without
// a restart. Authorities are read once. What is wrong with a file is found at the start, not at the first connection.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Files is one side's flags. Prefix is what the flags' names begin with ("" or "peer-"), for messages.
type Files struct {
	Prefix                 string
	Cert, Key              string
	ClientCert, ClientKey  string // shown where we dial; empty: Cert and Key
	TrustedCA, CRL         string
	ClientCertAuth         bool
	AllowedCN, AllowedHost []string
	VerifyAddress          bool // a client's certificate must be for the address that it comes from
	MinVersion, MaxVersion string
	CipherSuites           []string
}

// Given reports whether there is a certificate to serve with.
func (f *Files) Given() bool { return f.Cert != "" || f.Key != "" }

func (f *Files) flag(name string) string { return "--" + f.Prefix + name }

// Server returns the configuration of listeners.
func (f *Files) Server() (*tls.Config, error) {
	config, err := f.base()
	if err != nil {
		return nil, err
	}
	if f.Cert == "" || f.Key == "" {
		return nil, fmt.Errorf("TLS needs both %s and %s", f.flag("cert-file"), f.flag("key-file"))
	}
	if err := f.loads("", f.Cert, f.Key); err != nil {
		return nil, err
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load(f.Cert, f.Key) }
	// As in etcd, a trusted authority is reason enough to ask for certificates.
	if f.ClientCertAuth || f.TrustedCA != "" {
		if f.TrustedCA == "" {
			return nil, fmt.Errorf("%s needs %s, to know whose certificates are good", f.flag("client-cert-auth"), f.flag("trusted-ca-file"))
		}
		if config.ClientCAs, err = f.authorities(); err != nil {
			return nil, err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	} else if len(f.AllowedCN)+len(f.AllowedHost) > 0 || f.CRL != "" {
		return nil, fmt.Errorf("a certificate can be asked for name and revocation only where it is required: add %s and %s",
			f.flag("client-cert-auth"), f.flag("trusted-ca-file"))
	}
	checks, err := f.checks()
	if err != nil {
		return nil, err
	}
	return withChecks(config, checks), nil
}

// Client returns the configuration for dialling.
func (f *Files) Client() (*tls.Config, error) {
	config, err := f.base()
	if err != nil {
		return nil, err
	}
	if f.TrustedCA != "" {
		if config.RootCAs, err = f.authorities(); err != nil {
			return nil, err
		}
	}
	cert, key, explicit := f.Cert, f.Key, ""
	if f.ClientCert != "" || f.ClientKey != "" {
		cert, key, explicit = f.ClientCert, f.ClientKey, "client-"
	}
	if cert == "" && key == "" {
		return config, nil
	}
	if cert == "" || key == "" {
		return nil, fmt.Errorf("%s and %s belong together", f.flag(explicit+"cert-file"), f.flag(explicit+"key-file"))
	}
	if err := f.loads(explicit, cert, key); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load(cert, key) }
	return config, nil
}

func (f *Files) base() (*tls.Config, error) {
	config := &tls.Config{MinVersion: version(f.MinVersion, tls.VersionTLS12), MaxVersion: version(f.MaxVersion, 0)}
	if config.MaxVersion != 0 && config.MaxVersion < config.MinVersion {
		return nil, fmt.Errorf("--tls-max-version %s is below --tls-min-version %s: no version is left", f.MaxVersion, f.MinVersion)
	}
	for _, name := range f.CipherSuites {
		id, ok := suite(name)
		if !ok {
			return nil, fmt.Errorf("--cipher-suites: %q is not a TLS 1.2 cipher suite that Go has; those are %s", name, strings.Join(suites(), ", "))
		}
		config.CipherSuites = append(config.CipherSuites, id)
	}
	if len(config.CipherSuites) > 0 && config.MinVersion == tls.VersionTLS13 {
		return nil, errors.New("--cipher-suites chooses among those of TLS 1.2, and --tls-min-version TLS1.3 leaves no use for it: leave one of them out")
	}
	return config, nil
}

func version(name string, otherwise uint16) uint16 {
	switch name {
	case "TLS1.2":
		return tls.VersionTLS12
	case "TLS1.3":
		return tls.VersionTLS13
	}
	return otherwise
}

func suite(name string) (uint16, bool) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if s.Name == name && s.SupportedVersions[0] < tls.VersionTLS13 {
			return s.ID, true
		}
	}
	return 0, false
}

func suites() (names []string) {
	for _, s := range tls.CipherSuites() {
		if s.SupportedVersions[0] < tls.VersionTLS13 {
			names = append(names, s.Name)
		}
	}
	return names
}

func (f *Files) authorities() (*x509.CertPool, error) {
	text, err := os.ReadFile(f.TrustedCA)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.flag("trusted-ca-file"), err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", f.flag("trusted-ca-file"), f.TrustedCA)
	}
	return pool, nil
}

// loads says at the start what a handshake would otherwise find out.
func (f *Files) loads(explicit, cert, key string) error {
	if _, err := load(cert, key); err != nil {
		return fmt.Errorf("%s and %s: %w", f.flag(explicit+"cert-file"), f.flag(explicit+"key-file"), err)
	}
	return nil
}

func load(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%s, %s: %w", cert, key, err)
	}
	return &pair, err
}
