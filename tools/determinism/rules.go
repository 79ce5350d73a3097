package determinism

import (
	"go/types"
	"slices"
)

// rule forbids names of one package. With allow set it forbids all functions but those.
type rule struct {
	pkg     string
	forbid  []string
	allow   []string
	message string
}

var rules = []rule{
	{pkg: "time", forbid: []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
		message: "clock: a turn is told what time it is, and returns when it wants to run again"},
	{pkg: "context", forbid: []string{"WithTimeout", "WithDeadline", "WithTimeoutCause", "WithDeadlineCause"},
		message: "clock: a context with a deadline starts a timer of its own"},
	{pkg: "math/rand", allow: []string{"New", "NewSource", "NewZipf"},
		message: "rand: global randomness is not the seed's; draw from what was handed in"},
	{pkg: "math/rand/v2", allow: []string{"New", "NewPCG", "NewChaCha8", "NewZipf"},
		message: "rand: global randomness is not the seed's; draw from what was handed in"},
	{pkg: "crypto/rand", allow: []string{},
		message: "rand: the system's randomness is not the seed's; draw from what was handed in"},
	{pkg: "hash/maphash", allow: []string{},
		message: "rand: maphash is seeded afresh in each process"},
	{pkg: "maps", forbid: []string{"All", "Keys", "Values"},
		message: "map: the order differs from run to run; give it to slices.Sorted, or say //balsa:unordered and why"},
	{pkg: "sync", forbid: []string{"Pool"},
		message: "pool: what sync.Pool gives back depends on the garbage collector"},
}

// ruleFor returns the message of the rule that forbids obj, or "".
func ruleFor(obj types.Object) string {
	for _, r := range rules {
		if r.pkg != obj.Pkg().Path() {
			continue
		}
		if slices.Contains(r.forbid, obj.Name()) {
			return r.message
		}
		if _, isFunc := obj.(*types.Func); r.allow != nil && isFunc && !slices.Contains(r.allow, obj.Name()) {
			return r.message
		}
	}
	return ""
}
