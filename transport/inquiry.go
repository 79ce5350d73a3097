package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/balsadb/balsa/raft"
)

// Somebody who is to become a member does not know yet who it is, nor the cluster. It asks a member with a hello that names nobody, for a
// stream of the kind streamInquiry, and has its question behind what a hello has otherwise. The answer, where it is no
// refusal, is followed by one frame. What question and answer mean the transport does not know.

// maxQuestion is the largest question, in bytes.
const maxQuestion = maxHandshake - helloSize - checksumSize

// InquiryConfig says how somebody asks who is no member yet.
type InquiryConfig struct {
	URL       string      // a member's peer URL
	ClientTLS *tls.Config // for https
	Limits    Limits
	Level     raft.Level // the highest that who asks speaks; 0 for what this build does
}

// Inquire asks a question of the member at a peer URL. A *RefusedError has the member's reason not to answer.
func Inquire(ctx context.Context, config InquiryConfig, question []byte) ([]byte, error) {
	if len(question) > maxQuestion {
		return nil, fmt.Errorf("transport: a question of %d bytes, the limit is %d", len(question), maxQuestion)
	}
	parsed, err := parseURLs([]string{config.URL})
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	url := parsed[0]
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", url.address)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := raw
	if url.tls {
		if config.ClientTLS == nil {
			return nil, fmt.Errorf("transport: URL %s is https, and no TLS was configured for peers", url.raw)
		}
		secure := tls.Client(raw, inquiryTLS(config.ClientTLS, url))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS with %s: %w", url.raw, err)
		}
		conn = secure
	}
	h := hello{card: card{dialect: ours.upTo(config.Level)}, stream: streamInquiry, rest: question}
	if _, err := conn.Write(h.encode()); err != nil {
		return nil, err
	}
	a, err := readAnswer(conn)
	if err != nil {
		return nil, err
	}
	if a.reason != accepted {
		return nil, &RefusedError{Reason: a.reason, Text: a.text, ByPeer: true}
	}
	t, body, err := newFrameReader(conn, readBuffer, config.Limits.orDefaults().FrameBytes).next()
	if err == nil && t != frameData {
		err = fmt.Errorf("%w: a frame of type %d in answer to a question", errMalformed, t)
	}
	return body, err
}

func inquiryTLS(config *tls.Config, url peerURL) *tls.Config {
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = url.host
	}
	return config
}

// answerInquiry answers somebody's question.
func (t *TCP) answerInquiry(raw net.Conn, conn io.Writer, h hello) {
	reply := answer{card: t.card()}
	version, refusal := t.speaks().agree(h.dialect)
	var body []byte
	if refusal == nil {
		body, refusal = t.ask(h.rest)
	}
	reply.version = version
	if refusal != nil {
		reply.reason, reply.text = refusal.Reason, refusal.Text
		t.refuse(raw, h, refusal)
	}
	out := reply.encode()
	if refusal == nil {
		var header [frameHeader]byte
		putHeader(header[:], frameData, len(body), body)
		out = append(append(out, header[:]...), body...)
	}
	_, _ = conn.Write(out) // who asked sees that it failed
	if secure, ok := conn.(*tls.Conn); ok {
		_ = secure.Close()
	}
}

func (t *TCP) ask(question []byte) ([]byte, *RefusedError) {
	if t.config.OnInquiry == nil {
		return nil, refuse(ReasonStream, "this member answers no questions")
	}
	body, err := t.config.OnInquiry(question)
	var refusal *RefusedError
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case err != nil:
		return nil, refuse(ReasonUnknownMember, "%s", err.Error())
	}
	return body, nil
}
