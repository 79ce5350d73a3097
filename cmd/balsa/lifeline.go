package main

import (
	"errors"
	"io"
	"os"
	"strconv"
)

// lifelineVariable names a file descriptor, inherited from whoever started this process: the reading end of a
// pipe that nobody writes to. It ends when the parent does, however that dies, and then this process ends too.
const lifelineVariable = "BALSA_LIFELINE_FD"

// watchLifeline returns a channel that closes when the parent is gone; nil where there is no lifeline.
func watchLifeline() (<-chan struct{}, error) {
	text := os.Getenv(lifelineVariable)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, errors.New(lifelineVariable + " should be the number of an inherited pipe, not " + strconv.Quote(text))
	}
	os.Unsetenv(lifelineVariable)
	pipe := os.NewFile(uintptr(fd), "lifeline")
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, pipe)
		close(gone)
	}()
	return gone, nil
}
