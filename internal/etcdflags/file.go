package etcdflags

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// groups are the keys of a file that hold further keys, and what those are called on the command line.
var groups = map[string]map[string]string{
	"client-transport-security": {
		"cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file", "client-key-file": "client-key-file",
		"client-cert-auth": "client-cert-auth", "trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
		"client-crl-file": "client-crl-file", "allowed-hostname": "client-cert-allowed-hostname",
	},
	"peer-transport-security": {
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
		"client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth",
		"trusted-ca-file": "peer-trusted-ca-file", "auto-tls": "peer-auto-tls", "peer-crl-file": "peer-crl-file",
		"allowed-cn": "peer-cert-allowed-cn", "allowed-hostname": "peer-cert-allowed-hostname",
		"skip-client-san-verification": "peer-skip-client-san-verification",
	},
	"socket-options": {"reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address"},
	"discovery-config": {
		"discovery-endpoints": "discovery-endpoints", "discovery-token": "discovery-token", "discovery-dial-timeout": "discovery-dial-timeout",
		"discovery-request-timeout": "discovery-request-timeout", "discovery-keepalive-time": "discovery-keepalive-time",
		"discovery-keepalive-timeout": "discovery-keepalive-timeout",
	},
}

// fromFile takes everything from a file, and names what the command line and the environment had in vain.
func (s *Settings) fromFile(name string, readFile func(string) ([]byte, error), given, variables map[string]setting) error {
	text, err := readFile(name)
	if err != nil {
		return fmt.Errorf("--config-file: %w", err)
	}
	values, err := parseFile(name, text)
	if err != nil {
		return err
	}
	for _, ignored := range []map[string]setting{given, variables} {
		var names []string
		for flag, g := range ignored {
			if flag != "config-file" {
				names = append(names, g.spelling)
			}
		}
		slices.Sort(names)
		for _, spelling := range names {
			s.notice(true, "", fmt.Sprintf("%s is ignored: all settings come from the configuration file %s", spelling, name))
		}
	}
	values["config-file"] = setting{name, "--config-file"}
	return s.set(values, File)
}

func parseFile(name string, text []byte) (map[string]setting, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", name, err)
	}
	p := fileParser{file: name, known: map[string]*Flag{}, values: map[string]setting{}}
	table := Table()
	for i := range table {
		for _, spelling := range append([]string{table[i].Name}, table[i].Former...) {
			p.known[spelling] = &table[i]
		}
	}
	if len(document.Content) == 0 {
		return p.values, nil // an empty file: all defaults
	}
	return p.values, p.mapping(document.Content[0], nil)
}

type fileParser struct {
	file   string
	known  map[string]*Flag
	values map[string]setting
}

func (p *fileParser) errorf(at *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("configuration file %s, line %d: %s", p.file, at.Line, fmt.Sprintf(format, args...))
}

// mapping reads the keys of the file, or of one group in it.
func (p *fileParser) mapping(node *yaml.Node, group map[string]string) error {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return p.errorf(node, "there should be keys with values here, such as name: m1")
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if inner, ok := groups[key.Value]; ok && group == nil {
			if err := p.mapping(value, inner); err != nil {
				return err
			}
			continue
		}
		name, ok := key.Value, true
		if group != nil {
			name, ok = group[key.Value]
		}
		flag := p.known[name]
		if !ok || flag == nil || name == "config-file" {
			return p.errorf(key, "%q is not a setting; see balsa serve --help for those there are", key.Value)
		}
		text, err := p.value(value, flag)
		if err != nil {
			return err
		}
		p.values[flag.Name] = setting{text, fmt.Sprintf("configuration file %s, line %d: %s", p.file, key.Line, key.Value)}
	}
	return nil
}

// value writes a YAML value as the command line would have it.
func (p *fileParser) value(node *yaml.Node, flag *Flag) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return flag.Default, nil
	case node.Kind == yaml.ScalarNode && node.Tag == "!!int" && flag.Kind == Duration:
		var nanoseconds int64
		if err := node.Decode(&nanoseconds); err != nil {
			return "", p.errorf(node, "%s takes a duration such as 10m, or whole nanoseconds", flag.Name)
		}
		return time.Duration(nanoseconds).String(), nil
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind == yaml.SequenceNode && flag.Kind == List:
		var parts []string
		if err := node.Decode(&parts); err != nil {
			return "", p.errorf(node, "%s is a list of words", flag.Name)
		}
		return strings.Join(parts, ","), nil
	}
	return "", p.errorf(node, "%s takes one value", flag.Name)
}
