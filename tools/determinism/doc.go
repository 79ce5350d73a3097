// Package determinism is the linter that keeps actors replayable.
//
// The simulator runs the very code that we ship in one thread, on virtual time, from a seed. That works only
// while the code takes all its input from what it was handed. In the packages that scope.go lists
// these are therefore reported:
//
//	go            starts a goroutine: the scheduler would no longer know whose turn it is
//	select        with several cases: the runtime picks among ready ones at random
//	clock         time.Now and its kin, timers, context deadlines: a turn is told what time it is
//	rand          global or system randomness: it must come from the seed
//	map           ranging over a map, or maps.Keys and its kin unless sorted at once: the order differs from run to run
//	pool          sync.Pool: what it gives back depends on the garbage collector
//
// Two directives say that a finding is wanted. Each needs a reason, and one that excuses nothing is reported itself:
//
//	//balsa:unordered REASON   on or above a range over a map whose order cannot show
//	//balsa:edge REASON        on or above a statement, or in the comment of a function: this is not an actor's code but the
//	                           edge where callers of the outside world wait (a Propose that blocks on a context)
package determinism
