// Command mutants proves that the campaign of balsa sim can still find bugs: it plants known ones in our own code, one at
// a time, and has the campaign look for them, unmodified and with fresh seeds.
//
//	go run ./sim/mutants                     plant and hunt all of them, and print who was caught by which invariant
//	go run ./sim/mutants -only forget-vote   one of them
//	go run ./sim/mutants -page docs/track-record/mutants.md   the same as the first, and put the table into that page
//	go run ./sim/mutants -keep DIR           leave the program and the overlay there, to look closer:
//	    BALSA_MUTANT=forget-vote DIR/balsa sim --seed 7
//	    BALSA_MUTANT=forget-vote go test -overlay DIR/overlay.json ./raft ./wal
//
// A mutant is a file in list/: which lines of ours it changes, into what, and why that is dangerous. The sources know nothing of it. For
// a build of the mutants the lines are replaced, in an overlay that the compiler is given, by
//
//	if plantedMutant == "forget-vote" { what the mutant does } else { what we do }
//
// so that one build serves all mutants, and no other build has any. The exit code is 1 where one survived.
package main
