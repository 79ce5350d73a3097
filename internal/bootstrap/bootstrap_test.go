package bootstrap

import (
	"strings"
	"testing"
)

const three = "m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380,m3=http://10.0.0.3:2380"

// All members compute the same ids: the order in which the flag names them does not matter, everything else does.
func TestIDsFollowFromTheFlags(t *testing.T) {
	a, err := Parse(three, "token")
	if err != nil {
		t.Fatal(err)
	}
	same, _ := Parse("m3=http://10.0.0.3:2380, m1=http://10.0.0.1:2380/,m2=http://10.0.0.2:2380", "token")
	if same == nil || same.ID != a.ID || same.String() != a.String() || same.String() != three {
		t.Errorf("another order gives %+v, want %+v", same, a)
	}
	for _, other := range []struct{ initial, token string }{
		{three, "another token"},
		{strings.Replace(three, "10.0.0.3", "10.0.0.4", 1), "token"},
		{three + ",m4=http://10.0.0.4:2380", "token"},
		{three + ",m3=http://10.1.0.3:2380", "token"}, // a second address of m3
	} {
		c, err := Parse(other.initial, other.token)
		if err != nil || c.ID == a.ID {
			t.Errorf("%v: %v, the same cluster id", other, err)
		}
	}
	if m := a.Named("m2"); m == nil || m.PeerURLs[0] != "http://10.0.0.2:2380" || a.Named("m4") != nil {
		t.Errorf("Named: %v", m)
	}
}

// The ids are in data directories: a later release must compute the same.
func TestIDsStayTheSame(t *testing.T) {
	c, err := Parse(three, "etcd-cluster")
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != 0x86fc37eb4169ff6d || c.Named("m1").ID != 0x1f808d09fa4ddb26 {
		t.Errorf("cluster %#x, m1 %#x", c.ID, c.Named("m1").ID)
	}
}

func TestBadClusters(t *testing.T) {
	for initial, want := range map[string]string{
		"":                                  `"" should be NAME=PEER-URL`,
		"m1":                                `"m1" should be NAME=PEER-URL`,
		"m1=10.0.0.1:2380":                  `member m1: "10.0.0.1:2380" is not a URL`,
		"m1=http://10.0.0.1":                `needs host and port, such as http://10.0.0.1:2380`,
		"m1=ftp://10.0.0.1:21":              `should begin with http://, https://, unix:// or unixs://`,
		"m1=http://10.0.0.1:2380/path":      `should end after the port`,
		"m1=unix://":                        `needs the path of a socket`,
		"m1=http://a:1,m2=http://a:1":       `members m1 and m2 both have http://a:1`,
		"m1=http://a:1,m1=http://a:1":       `members m1 and m1 both have http://a:1`,
		"m1=http://a:1,,m2=http://a:2":      `"" should be NAME=PEER-URL`,
		"m1=http://a:1,m2=https://a:2?x=1":  `should end after the port`,
		"m1=http://a:1,m2=https://u:p@a:22": `should end after the port`,
	} {
		if _, err := Parse(initial, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", initial, err, want)
		}
	}
}
