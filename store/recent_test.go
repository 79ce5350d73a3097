package store

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestRecentAgainstAMap: what it remembers is what was set last; it forgets nothing that one generation has room for, and what
// it holds stays within its bounds, whatever the keys' sizes.
func TestRecentAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.IntRange(2, 200).Draw(t, "keys")
		r := newRecent(keys)
		all := map[string]version{}
		lately := []string{} // distinct, the last one written last
		for i := range rapid.IntRange(1, 1000).Draw(t, "writes") {
			key := strings.Repeat("k", rapid.SampledFrom([]int{0, 1, 60, 64, 300, 5000}).Draw(t, "length")) +
				rapid.StringN(0, 2, 2).Draw(t, "key")
			v := version{at: revision{main: int64(i)}, count: int64(i), valueHash: uint64(i)}
			r.set(key, v)
			all[key] = v
			lately = append(lately, key)
			if got, ok := r.get([]byte(key)); !ok || got != v {
				t.Fatalf("just set to %v, got %v, %v", v, got, ok)
			}
			for _, g := range []*struct{ entries, bytes, places int }{
				{len(r.young.entries), len(r.young.keys), len(r.young.places)}, {len(r.old.entries), len(r.old.keys), len(r.old.places)},
			} {
				if g.entries > r.limit || g.entries > 1 && g.bytes > r.limit*recentKeyBytes || g.places > max(64, 4*r.limit) {
					t.Fatalf("%d keys of %d bytes in a generation of %d", g.entries, g.bytes, r.limit)
				}
			}
		}
		for key, want := range all {
			if got, ok := r.get([]byte(key)); ok && got != want {
				t.Fatalf("%.10q is %v, got %v", key, want, got)
			}
		}
		kept, bytes := map[string]bool{}, 0
		for i := len(lately) - 1; i >= 0; i-- {
			if !kept[lately[i]] {
				kept[lately[i]] = true
				bytes += len(lately[i])
			}
			if len(kept) > r.limit || bytes > r.limit*recentKeyBytes {
				break
			}
			if _, ok := r.get([]byte(lately[i])); !ok {
				t.Fatalf("%.10q, written %d writes ago, was forgotten", lately[i], len(lately)-i)
			}
		}
	})
}
