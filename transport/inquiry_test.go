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

// strangerRecorder is a receiver that wants to know who else there is.
type strangerRecorder struct {
	*recorder
	met chan []string
}

func (r *strangerRecorder) Stranger(_ raft.MemberID, urls []string) { r.met <- urls }

// Who is dialled by a host that it does not know is told where that one is, can make it a peer, and then they are connected.
func TestStrangersAreMet(t *testing.T) {
	n := openTCP(t, Limits{})
	atA, atB := newRecorder(t), &strangerRecorder{newRecorder(t), make(chan []string, 100)}
	n.change = func(c *TCPConfig) {
		c.URLs = func() []string { return []string{"http://" + n.addresses[c.Self.Member]} }
	}
	a, b := n.start(1, atA), n.start(2, atB)
	defer a.Close()
	defer b.Close()
	atB.await("connected", 1)
	b.RemovePeer(1)
	urls := <-atB.met
	if len(urls) != 1 || urls[0] != "http://"+n.addresses[1] {
		t.Fatal(urls)
	}
	if err := b.SetPeer(1, urls); err != nil {
		t.Fatal(err)
	}
	atB.await("connected", 1)
}

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
