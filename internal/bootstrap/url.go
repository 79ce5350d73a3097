package bootstrap

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// ParseURL reads one of the URLs that members listen on or advertise: http or https with host and port, or unix or
// unixs with a path (or, as etcd has it, with what looks like host and port as the file's name).
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL: %w", text, err)
	}
	switch u.Scheme {
	case "http", "https":
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			return nil, fmt.Errorf("%q needs host and port, such as %s://10.0.0.1:2380", text, u.Scheme)
		}
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("%q should end after the port", text)
		}
		return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
	case "unix", "unixs":
		if SocketPath(u) == "" {
			return nil, fmt.Errorf("%q needs the path of a socket, such as %s:///run/balsa.sock", text, u.Scheme)
		}
		return u, nil
	}
	return nil, fmt.Errorf("%q should begin with http://, https://, unix:// or unixs://", text)
}

// ParseURLs reads a flag's URLs.
func ParseURLs(flag string, texts []string) ([]*url.URL, error) {
	var urls []*url.URL
	for _, text := range texts {
		u, err := ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// Strings writes URLs out, in their order.
func Strings(urls []*url.URL) []string {
	texts := make([]string, len(urls))
	for i, u := range urls {
		texts[i] = u.String()
	}
	return texts
}

// Secure reports whether a URL asks for TLS.
func Secure(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// Local reports whether a URL names a socket in the file system.
func Local(u *url.URL) bool { return strings.HasPrefix(u.Scheme, "unix") }

// SocketPath returns the file that a unix URL names.
func SocketPath(u *url.URL) string { return u.Host + u.Path }
