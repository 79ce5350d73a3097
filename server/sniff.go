package server

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// One port serves gRPC and plain HTTP. Which of them a connection is for shows in its first bytes: a client that
// speaks HTTP/2 starts with "PRI * HTTP/2.0", and no HTTP/1 method starts with "PRI ". gRPC's own server then
// has the connection to itself; serving gRPC through net/http would cost a multiple.
//
// Over TLS a client that offers HTTP/1.1 is given HTTP/1.1: browsers, curl and Prometheus offer both and
// are content with it, gRPC clients offer "h2" alone. So everybody who speaks HTTP/2 here speaks gRPC.

// http2Start is enough of HTTP/2's preface to tell it from any HTTP/1 request.
const http2Start = "PRI "

// sniffTimeout is how long a new connection may take to finish its handshake and to show what it is.
const sniffTimeout = 10 * time.Second

// sniffedConn is a connection whose first bytes were looked at: they are read again.
type sniffedConn struct {
	net.Conn
	start  []byte
	secure *tls.Conn // the same connection, where it is TLS
	// received and sent count bytes, where the connection is gRPC's.
	received, sent prometheus.Counter
}

func (c *sniffedConn) Read(b []byte) (int, error) {
	if len(c.start) > 0 {
		n := copy(b, c.start)
		c.start = c.start[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if c.received != nil {
		c.received.Add(float64(n))
	}
	return n, err
}

func (c *sniffedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.sent != nil {
		c.sent.Add(float64(n))
	}
	return n, err
}

// sniff finds out what a connection is for. It leaves a deadline on the connection where it fails.
func sniff(conn net.Conn, config *tls.Config) (sniffed *sniffedConn, http2 bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(sniffTimeout)); err != nil {
		return nil, false, err
	}
	sniffed = &sniffedConn{Conn: conn}
	if config != nil {
		sniffed.secure = tls.Server(conn, config)
		if err := sniffed.secure.Handshake(); err != nil {
			return nil, false, err
		}
		sniffed.Conn = sniffed.secure
	}
	start := make([]byte, 0, len(http2Start))
	for len(start) < len(http2Start) && string(start) == http2Start[:len(start)] {
		n, err := sniffed.Conn.Read(start[len(start):cap(start)])
		if n == 0 && err != nil {
			return nil, false, err
		}
		start = start[:len(start)+n]
	}
	sniffed.start = start
	return sniffed, string(start) == http2Start, conn.SetDeadline(time.Time{})
}

// preferHTTP1 returns a configuration that gives HTTP/1.1 to whom offers it, and HTTP/2 to the others.
func preferHTTP1(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1", "h2"}
	forClient := config.GetConfigForClient
	if forClient == nil {
		return config
	}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := forClient(hello)
		if err != nil || chosen == nil {
			return chosen, err
		}
		chosen = chosen.Clone()
		chosen.NextProtos = config.NextProtos
		return chosen, nil
	}
	return config
}

// handOver is the listener of a server whose connections come from the sniffer.
type handOver struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandOver() *handOver {
	return &handOver{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handOver) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handOver) Addr() net.Addr { return handOverAddr{} }

// give hands a connection to whoever accepts, or closes it where nobody does any more.
func (h *handOver) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		conn.Close()
	}
}

// handOverAddr is the address of no socket.
type handOverAddr struct{}

func (handOverAddr) Network() string { return "sniffed" }
func (handOverAddr) String() string  { return "sniffed connections" }
