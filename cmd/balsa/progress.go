package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress is a bar on a terminal, and nothing where there is none.
type progress struct {
	to    io.Writer // nil where nobody looks
	began time.Time
	last  time.Time
}

func newProgress(to io.Writer, quiet bool) *progress {
	if file, ok := to.(*os.File); !ok || quiet || !isTerminal(file) {
		to = nil
	}
	return &progress{to: to, began: time.Now()}
}

// show is told how many bytes are done, and how many are left, as far as that can be guessed; 0 is the end.
func (p *progress) show(done, left int64) {
	if p.to == nil || left > 0 && time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last = time.Now()
	const width = 30
	share := float64(done) / float64(max(done+left, 1))
	if left > 0 {
		share = min(share, 0.99)
	}
	rate := float64(done) / max(time.Since(p.began).Seconds(), 0.001)
	filled := int(share * width)
	fmt.Fprintf(p.to, "\r[%s%s] %3.0f%%  %s  %s/s ", strings.Repeat("=", filled), strings.Repeat(" ", width-filled),
		100*share, bytesText(done), bytesText(int64(rate)))
}

func (p *progress) end() {
	if p.to != nil && !p.last.IsZero() {
		fmt.Fprintln(p.to)
	}
}
