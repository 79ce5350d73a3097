package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// check judges a client whose certificate was verified. remote is where it comes from.
type check func(leaf *x509.Certificate, remote net.Addr) error

func (f *Files) checks() ([]check, error) {
	var checks []check
	if f.CRL != "" {
		if _, err := revoked(f.CRL); err != nil {
			return nil, fmt.Errorf("%s: %w", f.flag(map[string]string{"": "client-", "peer-": ""}[f.Prefix]+"crl-file"), err)
		}
		checks = append(checks, func(leaf *x509.Certificate, _ net.Addr) error { return notRevoked(f.CRL, leaf) })
	}
	if len(f.AllowedCN) > 0 {
		checks = append(checks, func(leaf *x509.Certificate, _ net.Addr) error {
			if !slices.Contains(f.AllowedCN, leaf.Subject.CommonName) {
				return fmt.Errorf("its certificate's common name %q is not one of %s", leaf.Subject.CommonName, strings.Join(f.AllowedCN, ", "))
			}
			return nil
		})
	}
	if len(f.AllowedHost) > 0 {
		checks = append(checks, func(leaf *x509.Certificate, _ net.Addr) error {
			for _, host := range f.AllowedHost {
				if leaf.VerifyHostname(host) == nil {
					return nil
				}
			}
			return fmt.Errorf("its certificate is for none of %s", strings.Join(f.AllowedHost, ", "))
		})
	}
	if f.VerifyAddress {
		checks = append(checks, comesFromItsAddress)
	}
	return checks, nil
}

// withChecks runs the checks in each handshake in which the client showed a certificate, resumed ones included.
func withChecks(config *tls.Config, checks []check) *tls.Config {
	if len(checks) == 0 {
		return config
	}
	inner := config.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		remote := hello.Conn.RemoteAddr()
		c := inner.Clone()
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			for _, check := range checks {
				if err := check(state.PeerCertificates[0], remote); err != nil {
					return fmt.Errorf("tls: %v is refused: %w", remote, err)
				}
			}
			return nil
		}
		return c, nil
	}
	return config
}

// comesFromItsAddress asks that a member's certificate names the address that it dials from: an IP address, or a name
// that resolves to it. A certificate that names neither says nothing about addresses, and passes.
func comesFromItsAddress(leaf *x509.Certificate, remote net.Addr) error {
	address, ok := remote.(*net.TCPAddr)
	if !ok || len(leaf.IPAddresses)+len(leaf.DNSNames) == 0 {
		return nil
	}
	if slices.ContainsFunc(leaf.IPAddresses, address.IP.Equal) {
		return nil
	}
	for _, name := range leaf.DNSNames {
		if found, err := net.LookupIP(name); err == nil && slices.ContainsFunc(found, address.IP.Equal) {
			return nil
		}
	}
	if names, err := net.LookupAddr(address.IP.String()); err == nil { // for wildcards
		for _, name := range names {
			if leaf.VerifyHostname(strings.TrimSuffix(name, ".")) == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("its certificate is for %v %v and not for %v; where addresses are translated in between, set --peer-skip-client-san-verification",
		leaf.IPAddresses, leaf.DNSNames, address.IP)
}

func notRevoked(file string, leaf *x509.Certificate) error {
	list, err := revoked(file)
	if err != nil {
		return err
	}
	isIt := func(serial *big.Int) bool { return serial.Cmp(leaf.SerialNumber) == 0 }
	if slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return isIt(e.SerialNumber) }) {
		return fmt.Errorf("its certificate %x was revoked", leaf.SerialNumber)
	}
	return nil
}

// revoked reads a revocation list, in PEM or DER form.
func revoked(file string) (*x509.RevocationList, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a revocation list: %w", file, err)
	}
	if !list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate) {
		return nil, errors.New(file + " ran out at " + list.NextUpdate.String() + ": put a newer list there")
	}
	return list, nil
}
