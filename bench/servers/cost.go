package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Cost is what all members together have used so far.
type Cost struct {
	CPU time.Duration // user and system time, of all threads
	// LogSyncs and StateSyncs are the fdatasyncs of the logs and of the state's storage: see syncs.
	LogSyncs, StateSyncs float64
	// DeviceFlushes is the cross-check: cache flushes that the disk was asked for, by anybody on this machine.
	DeviceFlushes float64
}

// Sub returns what was used between before and c.
func (c Cost) Sub(before Cost) Cost {
	return Cost{c.CPU - before.CPU, c.LogSyncs - before.LogSyncs, c.StateSyncs - before.StateSyncs, c.DeviceFlushes - before.DeviceFlushes}
}

// Cost reads what the members, all of which must run, have used so far.
func (s *Servers) Cost(ctx context.Context) (Cost, error) {
	var sum Cost
	for _, m := range s.Members {
		cpu, err := cpuTime(m.PID())
		if err != nil {
			return Cost{}, err
		}
		sum.CPU += cpu
	}
	for _, m := range s.Members {
		metrics, err := Metrics(ctx, m.Endpoint)
		if err != nil {
			return Cost{}, err
		}
		log, state, err := syncs(s.Kind, metrics)
		if err != nil {
			return Cost{}, fmt.Errorf("%s %s: %w", s.Kind, m.Name, err)
		}
		sum.LogSyncs += log
		sum.StateSyncs += state
	}
	flushes, err := DeviceFlushes(s.dir)
	sum.DeviceFlushes = flushes
	return sum, err
}

// syncs counts a member's fdatasyncs from its own metrics: one for each observation of the log's sync, and for etcd
// two for each commit of its database, since bbolt syncs the pages and then the page that makes them current (that
// it does so was checked with strace, as the README says).
func syncs(kind Kind, metrics map[string]float64) (log, state float64, err error) {
	const logName, stateName = "etcd_disk_wal_fsync_duration_seconds_count", "etcd_disk_backend_commit_duration_seconds_count"
	log, ok := metrics[logName]
	if !ok {
		return 0, 0, errors.New("its metrics have no " + logName)
	}
	state, ok = metrics[stateName]
	if !ok {
		return 0, 0, errors.New("its metrics have no " + stateName)
	}
	if kind == Etcd {
		state *= 2
	}
	return log, state, nil
}

// cpuTime reads fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name before it may hold anything
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has only %d fields after the name", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// Resident returns the resident memory of each running member, in bytes.
func (s *Servers) Resident() ([]float64, error) {
	var all []float64
	for _, m := range s.Members {
		if !m.Running() {
			continue
		}
		bytes, err := ResidentOf(m.PID())
		if err != nil {
			return nil, err
		}
		all = append(all, bytes)
	}
	return all, nil
}

// ResidentOf returns a process's resident memory in bytes.
func ResidentOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, found := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(after)
	if !found || len(fields) == 0 {
		return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib * 1024, err
}

// DiskBytes returns what each member's data takes on disk.
func (s *Servers) DiskBytes() ([]float64, error) {
	var all []float64
	for _, m := range s.Members {
		total := int64(0)
		err := filepath.WalkDir(m.Dir, func(_ string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return ignoreGone(err)
			}
			size, err := allocated(entry)
			total += size
			return ignoreGone(err)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, float64(total))
	}
	return all, nil
}

// ignoreGone: members delete files while they are looked at.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Metrics reads a member's /metrics; the series of one name are summed up.
func Metrics(ctx context.Context, endpoint string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s/metrics: %s", endpoint, response.Status)
	}
	return parseMetrics(response.Body)
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	all := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || end < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics line %q: %w", line, err)
		}
		name, _, _ := strings.Cut(line[:end], "{")
		all[name] += value
	}
	return all, lines.Err()
}
