package transport

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

// Somebody who is no member, and knows neither the cluster's id nor its own, asks one, and is answered, or told why not.
func TestInquiry(t *testing.T) {
	n := openTCP(t, Limits{})
	large := bytes.Repeat([]byte("x"), 100_000)
	n.change = func(c *TCPConfig) {
		c.OnInquiry = func(question []byte) ([]byte, error) {
			switch string(question) {
			case "who am I?":
				return large, nil
			case "am I removed?":
				return nil, &RefusedError{Reason: ReasonRemoved, Text: "you are"}
			}
			return nil, errors.New("nobody knows")
		}
	}
	tr := n.start(1, newRecorder(t))
	defer tr.Close()
	ask := func(question string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return Inquire(ctx, InquiryConfig{URL: "http://" + n.addresses[1]}, []byte(question))
	}
	if got, err := ask("who am I?"); err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	var refused *RefusedError
	if _, err := ask("what is this?"); !errors.As(err, &refused) || refused.Text != "nobody knows" || !refused.ByPeer {
		t.Errorf("%v", err)
	}
	if _, err := ask("am I removed?"); !errors.As(err, &refused) || refused.Reason != ReasonRemoved {
		t.Errorf("%v", err)
	}
	if _, err := ask(strings.Repeat("why?", 2000)); err == nil || !strings.Contains(err.Error(), "the limit is") {
		t.Errorf("%v", err)
	}
}

// expelledRecorder is a receiver that wants to know that it was removed.
type expelledRecorder struct {
	*recorder
	told chan string
}

func (r *expelledRecorder) Expelled(_ raft.MemberID, text string) { r.told <- text }

// A member that was removed for ever is told so when it comes again.
func TestExpelledMembersAreTold(t *testing.T) {
	n := openTCP(t, Limits{})
	atA, atB := newRecorder(t), &expelledRecorder{newRecorder(t), make(chan string, 100)}
	a, b := n.start(1, atA), n.start(2, atB)
	defer a.Close()
	defer b.Close()
	atA.await("connected", 2)
	a.Expel(2)
	if text := <-atB.told; !strings.Contains(text, "was removed from the cluster") {
		t.Error(text)
	}
}
