package cluster

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"time"
)

// logLine is what is read of a member's log.
type logLine struct {
	Message string `json:"msg"`
	Role    string `json:"role"`
	Term    uint64 `json:"term"`
}

// What a server says when it serves, and when its idea of who leads has changed.
const (
	servesLine     = "ready to serve client requests"
	leadershipLine = "leadership changed"
)

// watch reads a process's output into its log file, tells what it means, and notices its end.
func (m *Member) watch(p *process, output, log *os.File) {
	ended := make(chan time.Time, 1)
	go func() {
		p.cmd.Wait() // how it ended is in ProcessState
		ended <- time.Now()
	}()
	served := false
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		log.WriteString(line)
		if text := strings.TrimSpace(line); text != "" {
			p.last = text
			served = m.understand(p, text, served)
		}
		if err != nil {
			break // its end of the pipe is closed
		}
	}
	at := <-ended
	output.Close()
	log.Close()
	p.exit = p.cmd.ProcessState.String()
	close(p.gone)
	m.cluster.emit(Event{Kind: Exited, Member: m, At: at, Exit: p.exit, Said: p.last})
}

// understand tells of what a line of the log says, and reports whether the process serves.
func (m *Member) understand(p *process, text string, served bool) bool {
	var line logLine
	if json.Unmarshal([]byte(text), &line) != nil {
		return served
	}
	switch {
	case strings.Contains(line.Message, servesLine) && !served:
		close(p.serves)
		m.cluster.emit(Event{Kind: Serves, Member: m, At: time.Now()})
		return true
	case line.Message == leadershipLine && line.Role == "leader":
		m.cluster.emit(Event{Kind: Leads, Member: m, At: time.Now(), Term: line.Term})
	}
	return served
}
