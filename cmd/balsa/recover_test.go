package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// kill ends a member's process without a goodbye.
func (m *crewMember) kill() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
	m.gone = true
}

// says waits until a member's log has a text.
func (c *crew) says(m *crewMember, text string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		log, err := os.ReadFile(m.log)
		if err == nil && strings.Contains(string(log), text) {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s does not say %q within a minute: %v", m.name, text, err)
		}
	}
}

// found returns the writers' keys as a member has them.
func found(t *testing.T, m *crewMember) map[string]string {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	got, err := client.Get(t.Context(), "writer", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range got.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all
}

// The worst day: two of three members are gone with their disks. What the third has becomes a new cluster, in which others join;
// nobody of the former one is listened to.
func TestRecoverALostMajority(t *testing.T) {
	t.Parallel()
	c := newCrew(t, 5)
	first, second, third := c.members[0], c.members[1], c.members[2]
	for _, m := range c.members[:3] {
		c.initial = append(c.initial, m.name+"="+m.peer)
	}
	for _, m := range c.members[:3] {
		c.launch(m, "new")
	}
	c.until("three serve", func(listed string) bool { return strings.Count(listed, "started") == 3 })
	w := c.write(4)
	c.progress(w)
	w.stop()
	w.running.Wait()
	before := found(t, first) // a linearizable read: the survivor has all of it
	if err := os.CopyFS(filepath.Join(c.dir, "lost"), os.DirFS(filepath.Join(c.dir, second.name))); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members[:3] {
		m.kill()
	}
	for _, m := range c.members[1:3] {
		if err := os.RemoveAll(filepath.Join(c.dir, m.name)); err != nil {
			t.Fatal(err)
		}
	}
	from, into := filepath.Join(c.dir, first.name), filepath.Join(c.dir, "recovered")
	ask := program(t, "balsa", "recover", from, "--data-dir="+into)
	ask.Stdin = strings.NewReader("no\n")
	if o := runToEnd(t, ask); o.code != exitError || !strings.Contains(o.stdout, "may be lost") || !strings.Contains(o.stderr, "it was not confirmed") {
		t.Fatalf("recover that was not confirmed: %+v", o)
	}
	if o := runToEnd(t, program(t, "balsa", "recover", from, "--data-dir="+into, "--dry-run")); o.code != 0 || !strings.Contains(o.stdout, "nothing was changed") {
		t.Fatalf("dry run: %+v", o)
	}
	if _, err := os.Stat(into); !os.IsNotExist(err) {
		t.Fatalf("a directory was made by a dry run, or by one that was not confirmed: %v", err)
	}
	o := runToEnd(t, program(t, "balsa", "recover", filepath.Join(c.dir, third.name), from, "--data-dir="+into, "--yes", "-o=json"))
	var report recoverReport
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil || o.code != 0 || !report.Done || report.Source != from ||
		len(report.Former.Lost) != 2 || report.Record.RevisionAfter <= defaultBump || len(report.Refused) != 1 {
		t.Fatalf("recover: %+v, %v", o, err)
	}
	if o := runToEnd(t, program(t, "balsa", "serve", "--name=m1", "--data-dir="+from)); o.code != exitError || !strings.Contains(o.stderr, "was left behind") {
		t.Errorf("a server in the survivor's former directory: %+v", o)
	}

	// The same flags, another directory.
	if err := os.Rename(from, filepath.Join(c.dir, "former")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(into, from); err != nil {
		t.Fatal(err)
	}
	c.launch(first, "new")
	c.until("the survivor serves", func(listed string) bool { return strings.Count(listed, "started") == 1 })
	after := found(t, first)
	for key, value := range before {
		if after[key] != value {
			t.Errorf("%s is lost", key)
		}
	}
	if o := runToEnd(t, program(t, "balsa", "status", "--endpoints="+first.endpoint)); !strings.Contains(o.stdout, "recovered from a lost majority") {
		t.Errorf("status does not tell of the recovery: %s", o.stdout)
	}
	flags := c.initial
	c.initial = []string{first.name + "=" + first.peer}
	for _, m := range c.members[3:] {
		c.add(m)
	}
	w = c.write(2)
	c.progress(w)
	w.stop()
	w.running.Wait()

	// One of the lost comes back after all.
	if err := os.Rename(filepath.Join(c.dir, "lost"), filepath.Join(c.dir, second.name)); err != nil {
		t.Fatal(err)
	}
	c.initial = flags
	c.launch(second, "new")
	c.says(second, "was recovered from one survivor, without you")
	if got := len(found(t, c.members[4])); got < len(before) {
		t.Errorf("%d keys, and %d were there before", got, len(before))
	}
}
