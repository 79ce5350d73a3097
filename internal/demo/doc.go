// Package demo is balsa demo: three real servers on this machine, and a terminal that tells what happens to them.
//
// It starts three server processes, shows who they are and what to try, and then waits for one of four things:
// a member's process ends, a member becomes the leader, somebody types a command, or it is told to stop. It tells of each in
// a line. How long a new leader took is measured from the moment at which the old one's process was seen to be gone.
package demo
