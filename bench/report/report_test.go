package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	r := New([]string{"etcd", "balsa"}, time.Second, "speed", "syncs", "never measured")
	for i, v := range []float64{100, 300, 200} { // in the second round the machine is thrice as fast as in the first, for both
		r.Add("put", "etcd", Result{"speed": v, "syncs": 0})
		r.Add("put", "balsa", Result{"speed": 2*v + float64(100*i), "syncs": 0.5})
		r.Add("other", "etcd", Result{"speed": 1})
	}
	var b strings.Builder
	r.Print(&b, "put", "puts")
	for _, want := range []string{"\nputs\n", "balsa/etcd", "200 (100–300)", "600 (200–700)", "2.33× (2.00–3.00)", "0 (0–0)", "0.50 (0.50–0.50)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "never") {
		t.Errorf("a figure that was never measured is printed:\n%s", b.String())
	}
	if strings.Count(b.String(), "×") != 1 {
		t.Errorf("a ratio to nothing is printed:\n%s", b.String())
	}
	path := filepath.Join(t.TempDir(), "report.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"ratio": {`) {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.00004: "0", 0.0274: "0.0274", 0.1: "0.10", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1,234", 12345678: "12,345,678",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
