package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// Member is one member, running or not. Its methods may be called concurrently.
type Member struct {
	Number         int    // from 1
	Name           string // m1, m2, ...
	Endpoint       string // where clients reach it, host:port
	Peer           string // where it listens for the others
	AdvertisedPeer string // where the others reach it
	Dir            string // its data directory
	Log            string // the file that its log is appended to

	cluster *Cluster
	ports   Ports
	args    []string
	binary  string // in place of the cluster's, where it is set

	mu      sync.Mutex
	process *process // the last one started; nil before
}

// process is one life of a member.
type process struct {
	cmd    *exec.Cmd
	gone   chan struct{} // closed once the process is gone and its log was read to the end
	serves chan struct{} // closed once it serves
	exit   string        // how it ended
	last   string        // the last line that it wrote: why it ended, where it ended by itself
}

// Args returns the command line that the member is started with.
func (m *Member) Args() []string { return append([]string{m.program()}, m.args...) }

// SetBinary has the member started with another build from now on. It must not run.
func (m *Member) SetBinary(path string) { m.binary = path }

func (m *Member) program() string { return cmp.Or(m.binary, m.cluster.options.Binary) }

// PID returns the process's id, of the last process where none runs; 0 before the first.
func (m *Member) PID() int {
	if p := m.current(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Running reports whether the member's process is there (paused ones are).
func (m *Member) Running() bool {
	p := m.current()
	if p == nil {
		return false
	}
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

func (m *Member) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// Restart starts the member with the command line that it always has, and returns once it serves.
func (m *Member) Restart(ctx context.Context) error {
	if err := m.start(); err != nil {
		return err
	}
	return m.serves(ctx)
}

// Launch starts the member and does not wait.
func (m *Member) Launch() error { return m.start() }

func (m *Member) start() error {
	if m.Running() {
		return fmt.Errorf("%s runs already, as process %d", m.Name, m.PID())
	}
	if err := os.MkdirAll(m.cluster.options.Dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(m.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	output, input, err := os.Pipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	cmd := exec.Command(m.program(), m.args...)
	cmd.Stdout, cmd.Stderr = input, input
	cmd.ExtraFiles = []*os.File{m.cluster.lifeline}
	cmd.Env = append(append(os.Environ(), "BALSA_LIFELINE_FD=3"), m.cluster.options.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at the terminal is for us, not for them
	err = cmd.Start()
	input.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", m.Name, err), output.Close(), log.Close())
	}
	p := &process{cmd: cmd, gone: make(chan struct{}), serves: make(chan struct{})}
	m.mu.Lock()
	m.process = p
	m.mu.Unlock()
	go m.watch(p, output, log)
	return nil
}

// serves waits until the member serves.
func (m *Member) serves(ctx context.Context) error {
	p := m.current()
	if p == nil {
		return fmt.Errorf("%s was never started", m.Name)
	}
	select {
	case <-p.serves:
		return nil
	case <-p.gone:
		return fmt.Errorf("%s ended before it served (%s): %s", m.Name, p.exit, p.last)
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to serve: %w; its log is %s", m.Name, context.Cause(ctx), m.Log)
	}
}

// Kill ends the process at once (SIGKILL) and returns when it is gone.
func (m *Member) Kill() {
	m.signal(syscall.SIGKILL)
	if p := m.current(); p != nil {
		<-p.gone
	}
}

// Pause stops the process where it is (SIGSTOP); Resume lets it go on (SIGCONT).
func (m *Member) Pause() error { return m.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (m *Member) Resume() error { return m.signal(syscall.SIGCONT) }

// Terminate asks the process to end (SIGTERM), kills it when ctx ends first, and returns an error where it did
// not end by itself and well. A member that was killed, or does not run, is fine.
func (m *Member) Terminate(ctx context.Context) error {
	p := m.current()
	if p == nil {
		return nil
	}
	m.signal(syscall.SIGTERM)
	m.signal(syscall.SIGCONT) // it may be paused
	select {
	case <-p.gone:
	case <-ctx.Done():
		m.signal(syscall.SIGKILL)
		<-p.gone
		return fmt.Errorf("%s did not end when it was asked to, and was killed; its log is %s", m.Name, m.Log)
	}
	if code := p.cmd.ProcessState.ExitCode(); code > 0 {
		return fmt.Errorf("%s ended with exit code %d: %s", m.Name, code, p.last)
	}
	return nil
}

func (m *Member) signal(s syscall.Signal) error {
	p := m.current()
	if p == nil {
		return fmt.Errorf("%s was never started", m.Name)
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %v: %w", m.Name, s, err)
	}
	return nil
}
