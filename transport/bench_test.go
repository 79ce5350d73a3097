package transport

import (
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/balsadb/balsa/raft"
)

// countingReceiver counts frames and wakes the benchmark when enough have come.
type countingReceiver struct {
	connected chan struct{}
	frames    atomic.Int64
	want      atomic.Int64
	arrived   chan struct{}
}

func newCountingReceiver() *countingReceiver {
	return &countingReceiver{connected: make(chan struct{}, 16), arrived: make(chan struct{}, 1)}
}

func (r *countingReceiver) Connected(raft.MemberID)            { r.connected <- struct{}{} }
func (r *countingReceiver) Broken(raft.MemberID, bool)         {}
func (r *countingReceiver) ReceivedBulk(raft.MemberID, []byte) {}
func (r *countingReceiver) Received(raft.MemberID, []byte) {
	if r.frames.Add(1) == r.want.Load() {
		r.arrived <- struct{}{}
	}
}

func benchmarkPair(b *testing.B) (a *TCP, atB *countingReceiver) {
	var ends [2]*TCP
	var receivers [2]*countingReceiver
	var listeners [2]net.Listener
	for i := range ends {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		listeners[i] = l
	}
	for i := range ends {
		t, err := NewTCP(TCPConfig{Self: testIdentity(raft.MemberID(i + 1)), Listeners: listeners[i : i+1]})
		if err == nil {
			err = t.AddPeer(raft.MemberID(2-i), []string{"http://" + listeners[1-i].Addr().String()})
		}
		if err != nil {
			b.Fatal(err)
		}
		ends[i], receivers[i] = t, newCountingReceiver()
		t.SetReceiver(receivers[i])
		b.Cleanup(func() { _ = t.Close() })
	}
	<-receivers[0].connected
	<-receivers[1].connected
	return ends[0], receivers[1]
}

// BenchmarkBurst sends bursts of frames of 256 bytes over loopback, each when the one before has arrived, and reports the CPU time
// of both ends together for each frame.
func BenchmarkBurst(b *testing.B) {
	for _, burst := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(burst), func(b *testing.B) {
			a, atB := benchmarkPair(b)
			head, tail := make([]byte, 56), make([]byte, 200)
			parts := [][]byte{head, tail}
			b.ReportAllocs()
			before, frames := cpuTime(), int64(0)
			for b.Loop() {
				frames += int64(burst)
				atB.want.Store(frames)
				for range burst {
					if !a.Send(2, parts) {
						b.Fatal("a frame was dropped")
					}
				}
				<-atB.arrived
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(frames), "cpu-ns/frame")
			b.ReportMetric(float64(frames)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// BenchmarkInline looks for the size up to which copying a part beats one more element of a gathered write.
func BenchmarkInline(b *testing.B) {
	a, z, err := socketPair()
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	go func() {
		buffer := make([]byte, 1<<20)
		for {
			if _, err := z.Read(buffer); err != nil {
				return
			}
		}
	}()
	for _, size := range []int{128, 256, 512, 1024, 2048, 4096, 8192} {
		for _, inline := range []int{0, 1 << 20} {
			b.Run(fmt.Sprintf("size=%d/copy=%v", size, inline > 0), func(b *testing.B) {
				parts := make([][]byte, 100)
				for i := range parts {
					parts[i] = make([]byte, size)
				}
				gathered := newBatch(inline)
				before, n := cpuTime(), 0
				for b.Loop() {
					gathered.add(frameData, size*len(parts), parts)
					if err := gathered.write(a, func() error { return nil }); err != nil {
						b.Fatal(err)
					}
					gathered.reset()
					n++
				}
				b.ReportMetric(float64(cpuTime()-before)/float64(n*len(parts)), "cpu-ns/part")
			})
		}
	}
}

func socketPair() (a, z net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	z, err = l.Accept()
	return a, z, err
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
