package etcdflags

import (
	"os"
	"testing"
)

func TestRates(t *testing.T) {
	for value, want := range map[string]int64{
		"64MiB": 64 << 20, "500KiB": 500 << 10, "1GB": 1e9, "10 MB": 10e6, "4096": 4096, "7B": 7, "unlimited": -1,
		"": 0, "0": 0, "-5": 0, "fast": 0, "64MiB/s": 0, "1.5MiB": 0, "20000000000GiB": 0,
	} {
		s, err := Load([]string{"--snapshot-rate=" + value}, nil, os.ReadFile)
		if want == 0 {
			if err == nil {
				t.Errorf("--snapshot-rate=%s is accepted as %d", value, s.Rate("snapshot-rate"))
			}
			continue
		}
		if err != nil || s.Rate("snapshot-rate") != want {
			t.Errorf("--snapshot-rate=%s: %v", value, err)
		}
	}
}
