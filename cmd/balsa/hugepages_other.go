//go:build !linux

package main

// preferHugePages does nothing here: the advice is Linux's.
func preferHugePages() {}
