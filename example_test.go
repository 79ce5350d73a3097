package balsa_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/balsadb/balsa"
)

// words is a state machine: it joins the commands, and answers each with what it has so far.
type words struct{ text string }

func (w *words) Apply(batch *balsa.Batch) error {
	for i := range batch.Commands {
		w.text += string(batch.Commands[i].Payload)
		batch.Commands[i].Result = []byte(w.text)
	}
	return nil
}

// A replicated state machine in your own program. A cluster of one is a cluster: for three, start this in three places
// with the same Members, and a Member and Dir of its own each.
func Example() {
	dir, err := os.MkdirTemp("", "balsa-example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	host, err := balsa.Open(balsa.Options{Dir: dir, Member: 1, Members: map[balsa.MemberID]string{1: "127.0.0.1:0"}})
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()
	group, err := host.StartGroup(balsa.GroupConfig{ID: 1, StateMachine: &words{}})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	if _, err := group.Propose(ctx, []byte("hello, ")); err != nil {
		log.Fatal(err)
	}
	result, err := group.Propose(ctx, []byte("world"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result.Value)
	// Output: hello, world
}
