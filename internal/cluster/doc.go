// Package cluster runs a cluster of real server processes on this machine: the demonstration shows one to people, and
// tests kill, stop and restart its members.
//
//	c, err := cluster.Start(ctx, 3, cluster.Options{Binary: "/path/to/balsa", Dir: dir})
//	defer c.Stop()
//	c.Members[0].Kill()       // kill -9; returns once the process is gone
//	c.Members[1].Pause()      // SIGSTOP
//	c.Members[1].Resume()     // SIGCONT
//	c.Members[0].Restart(ctx) // the same command line; returns once it serves
//
// Nothing here waits by the clock: that a member serves, or leads, is read from its log as it is written.
// The processes end with this one, however it ends: each holds the reading end of a pipe whose other end is here.
package cluster
