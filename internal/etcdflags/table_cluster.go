package etcdflags

var cluster = Section{"Cluster", []Flag{
	{Name: "initial-advertise-peer-urls", Kind: List, Default: "http://localhost:2380", Help: "URLs under which the other members reach this one"},
	{Name: "advertise-client-urls", Kind: List, Default: "http://localhost:2379",
		Help: "URLs under which clients reach this member; required where --listen-client-urls is given"},
	{Name: "initial-cluster", Help: "all first members, NAME=PEER-URL separated by commas; the same on every member (default this member alone)"},
	{Name: "initial-cluster-token", Default: "etcd-cluster",
		Help: "tells clusters apart whose members have the same URLs; the same on every member"},
	{Name: "initial-cluster-state", Default: "new", Choices: []string{"new", "existing"},
		Help: "new; existing, to join a running cluster that this member was added to: --initial-cluster then names members that are running, and this one. Ignored on restarts"},

	{Name: "strict-reconfig-check", Class: Refused, Kind: Bool, Default: "true",
		Help: "a change of members that could cost the majority is never let through here: leave this flag out"},
	{Name: "force-new-cluster", Class: Refused, Kind: Bool, Default: "false",
		Help: "a member's directory cannot be made a cluster of its own yet: start the other members again, or restore the data into a new cluster with a client"},

	discovery("discovery", String, ""),
	discovery("discovery-token", String, ""),
	discovery("discovery-endpoints", List, ""),
	discovery("discovery-srv", String, ""),
	discovery("discovery-srv-name", String, ""),
	discovery("discovery-proxy", String, ""),
	discovery("discovery-cert", String, ""),
	discovery("discovery-key", String, ""),
	discovery("discovery-cacert", String, ""),
	discovery("discovery-user", String, ""),
	discovery("discovery-password", String, ""),
	discovery("discovery-insecure-skip-tls-verify", Bool, "false"),
	{Name: "discovery-fallback", Class: Refused, Default: "exit",
		Help: "there is no proxy to fall back to: leave this flag out"},
	discoveryTuning("discovery-dial-timeout", Duration, "2s"),
	discoveryTuning("discovery-request-timeout", Duration, "5s"),
	discoveryTuning("discovery-keepalive-time", Duration, "2s"),
	discoveryTuning("discovery-keepalive-timeout", Duration, "6s"),
	discoveryTuning("discovery-insecure-transport", Bool, "true"),

	{Name: "v2-deprecation", Class: Tuning, Help: "there is no v2 store here"},
	{Name: "enable-v2", Class: Refused, Kind: Bool, Default: "false", Help: "the v2 API is not served: move clients to v3"},
	{Name: "experimental-enable-v2v3", Class: Refused, Help: "the v2 API is not served: move clients to v3"},
	{Name: "proxy", Class: Refused, Default: "off", Help: "the v2 proxy is not part of this server: leave this flag out"},
	{Name: "proxy-failure-wait", Class: Tuning, Kind: Count, Default: "5000", Help: "there is no v2 proxy here"},
	{Name: "proxy-refresh-interval", Class: Tuning, Kind: Count, Default: "30000", Help: "there is no v2 proxy here"},
	{Name: "proxy-dial-timeout", Class: Tuning, Kind: Count, Default: "1000", Help: "there is no v2 proxy here"},
	{Name: "proxy-write-timeout", Class: Tuning, Kind: Count, Default: "5000", Help: "there is no v2 proxy here"},
	{Name: "proxy-read-timeout", Class: Tuning, Kind: Count, Default: "0", Help: "there is no v2 proxy here"},
}}

func discovery(name string, kind Kind, value string) Flag {
	return Flag{Name: name, Class: Refused, Kind: kind, Default: value,
		Help: "members cannot be found by discovery yet: name them all with --initial-cluster"}
}

func discoveryTuning(name string, kind Kind, value string) Flag {
	return Flag{Name: name, Class: Tuning, Kind: kind, Default: value,
		Help: "means something together with discovery only, and members are named with --initial-cluster"}
}
