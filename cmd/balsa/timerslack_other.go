//go:build !linux

package main

// relaxTimers does nothing here: only Linux has timer slack.
func relaxTimers() {}
