package transport

import (
	"fmt"
	"net/url"
)

// peerURL is an address that a peer advertises.
type peerURL struct {
	raw     string
	address string // host:port
	host    string
	tls     bool
}

// parseURLs reads advertised URLs: http or https, a host and a port, and nothing else.
func parseURLs(raw []string) ([]peerURL, error) {
	if len(raw) == 0 {
		return nil, fmt.Errorf("a peer needs at least one URL, such as http://10.0.0.1:2380")
	}
	urls := make([]peerURL, len(raw))
	for i, s := range raw {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("peer URL %q: %w", s, err)
		}
		switch {
		case u.Scheme != "http" && u.Scheme != "https":
			return nil, fmt.Errorf("peer URL %q: the scheme is %q, want http or https", s, u.Scheme)
		case u.Hostname() == "" || u.Port() == "":
			return nil, fmt.Errorf("peer URL %q: want a host and a port, such as %s://10.0.0.1:2380", s, u.Scheme)
		case (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
			return nil, fmt.Errorf("peer URL %q: want scheme, host and port only", s)
		}
		urls[i] = peerURL{raw: s, address: u.Host, host: u.Hostname(), tls: u.Scheme == "https"}
	}
	return urls, nil
}
