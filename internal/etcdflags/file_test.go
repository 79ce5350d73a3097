package etcdflags

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

func loadFile(text string, args, environ []string) (*Settings, error) {
	return Load(append([]string{"--config-file=balsa.yaml"}, args...), environ, func(name string) ([]byte, error) {
		if name != "balsa.yaml" {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	})
}

const sample = `
# the shape of etcd's own sample file
name: m1
data-dir: /var/lib/balsa
heartbeat-interval: 50
listen-client-urls: http://10.0.0.1:2379,http://127.0.0.1:2379
discovery:
discovery-fallback: 'exit'
proxy: 'off'
strict-reconfig-check: true
log-outputs: [stderr, /var/log/balsa.log]
watch-progress-notify-interval: 600000000000
grpc-keepalive-min-time: 3s
client-transport-security:
  cert-file: server.crt
  client-cert-auth: true
peer-transport-security:
  cert-file: peer.crt
  allowed-cn: [a, b]
`

func TestFile(t *testing.T) {
	s, err := loadFile(sample, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"name": "m1", "data-dir": "/var/lib/balsa", "heartbeat-interval": "50", "cert-file": "server.crt", "client-cert-auth": "true",
		"peer-cert-file": "peer.crt", "peer-cert-allowed-cn": "a,b", "log-outputs": "stderr,/var/log/balsa.log", "log-format": "json",
	} {
		if got := s.String(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if s.Duration("watch-progress-notify-interval") != 10*time.Minute || s.Duration("grpc-keepalive-min-time") != 3*time.Second {
		t.Errorf("durations: %v", s.values)
	}
}

// As in etcd a file makes the command line and the environment ignored; unlike etcd we name each that is.
func TestFileMakesTheRestIgnored(t *testing.T) {
	s, err := loadFile("name: file", []string{"--name=flag", "--data-dir=x"}, []string{"ETCD_LOG_LEVEL=debug", "ETCD_NAME=env"})
	if err != nil {
		t.Fatal(err)
	}
	if s.String("name") != "file" || s.String("log-level") != "info" || s.Given("data-dir") {
		t.Errorf("got %v", s.values)
	}
	var named []string
	for _, n := range s.Notices {
		word, _, _ := strings.Cut(n.Text, " is ignored")
		named = append(named, word)
	}
	if want := []string{"--data-dir", "--name", "ETCD_LOG_LEVEL", "ETCD_NAME"}; !slices.Equal(named, want) {
		t.Errorf("named as ignored: %v, want %v", named, want)
	}
}

func TestFileFromTheEnvironment(t *testing.T) {
	s, err := Load(nil, []string{"ETCD_CONFIG_FILE=x.yaml"}, func(string) ([]byte, error) { return []byte("name: m3"), nil })
	if err != nil || s.String("name") != "m3" {
		t.Errorf("got %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"nmae: x", `configuration file balsa.yaml, line 1: "nmae" is not a setting`},
		{"name: x\nclient-transport-security:\n  cert-fiel: y", `line 3: "cert-fiel" is not a setting`},
		{"- a", `line 1: there should be keys with values here`},
		{"name: [a, b]", `line 1: name takes one value`},
		{"name: {a: b}", `line 1: name takes one value`},
		{"name: x\nheartbeat-interval: soon", `configuration file balsa.yaml, line 2: heartbeat-interval="soon": it must be a whole number`},
		{"name: 'x", `configuration file balsa.yaml: yaml: `},
		{"peer-transport-security:\n  auto-tls: true\n", `--peer-auto-tls=true is refused`},
	} {
		_, err := loadFile(c.text, nil, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
	if _, err := Load([]string{"--config-file=gone.yaml"}, nil, func(string) ([]byte, error) { return nil, fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
