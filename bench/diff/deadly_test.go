package diff

import (
	"strings"
	"testing"

	"github.com/balsadb/balsa/bench/servers"
)

// TestWhatTheReferenceDiesOf makes calls that end etcd 3.7.3, on every member and again at each start: it checks that a
// key exists from which a put is to take its value or its lease, and then runs the operations before that put, one of
// which deletes the key. They are refused here, and nothing of them is done.
func TestWhatTheReferenceDiesOf(t *testing.T) {
	if *peer == string(servers.Etcd) {
		t.Skip("it would")
	}
	side := start(t, slot{"peer", servers.Kind(*peer), 1})
	for _, deadly := range []string{
		`Txn success:{request_delete_range:{key:"a" range_end:"\x00"}} success:{request_put:{key:"a" ignore_value:true}}`,
		`Txn success:{request_delete_range:{key:"a" range_end:"\x00"}} success:{request_put:{key:"a" value:"2" ignore_lease:true}}`,
		`Txn success:{request_put:{key:"b"}} success:{request_txn:{success:{request_delete_range:{key:"a" range_end:"\x00"}}}} success:{request_put:{key:"a" ignore_value:true}}`,
		`Txn success:{request_txn:{success:{request_delete_range:{key:"a" range_end:"\x00"}} success:{request_txn:{success:{request_put:{key:"a" ignore_lease:true}}}}}}`,
	} {
		if err := side.reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ call, want string }{
			{`Put key:"a" value:"1"`, "ok"},
			{deadly, `error InvalidArgument "etcdserver: key not found"`},
			{`Range key:"a" range_end:"\x00"`, `ok header:{cluster_id:* member_id:* revision:2 raft_term:*} kvs:{key:"a" create_revision:2 mod_revision:2 version:1 value:"1"} count:1`},
		} {
			c, err := parseCall(step.call)
			if err != nil {
				t.Fatal(err)
			}
			got, err := side.do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(got), step.want) {
				t.Errorf("%s\n    %s\n    want %s", step.call, got, step.want)
			}
		}
	}
}
