package etcdflags

const (
	noCompaction = "nothing is compacted by itself yet: history is kept until a client compacts it, as kube-apiserver does every 5 minutes"
	noComparison = "members are not compared by themselves yet (each entry is checksummed at every hand-over): etcdctl endpoint hashkv --cluster compares them"
	noTracing    = "traces are not exported yet"
	noSlowLog    = "slow requests are not logged yet: see the request durations in /metrics"
	noDowngrade  = "a downgrade is never under way here, so that there is nothing to check for"
)

var operations = Section{"Operations", []Flag{
	{Name: "config-file", Help: "YAML file with all of these settings; the command line and the environment are then ignored"},
	{Name: "listen-metrics-urls", Kind: List, Help: "further URLs that answer /metrics, /health, /livez and /readyz"},
	{Name: "metrics", Default: "basic", Choices: []string{"basic", "extensive"}, Help: "extensive adds histograms of gRPC durations"},
	{Name: "enable-pprof", Kind: Bool, Default: "false", Help: "serve profiles under /debug/pprof/ on the client and metrics URLs"},
	{Name: "logger", Default: "zap", Choices: []string{"zap"}, Help: "log lines have zap's shape"},
	{Name: "log-outputs", Kind: List, Default: "default", Help: "stdout, stderr (the default) and files"},
	{Name: "log-level", Default: "info", Choices: []string{"debug", "info", "warn", "error", "dpanic", "panic", "fatal"}, Help: "debug, info, warn or error"},
	{Name: "log-format", Default: "json", Choices: []string{"json", "console"}, Help: "json or console"},
	{Name: "unsafe-no-fsync", Kind: Bool, Default: "false", Help: "do not wait for the disk: a power cut then loses acknowledged writes. For tests only"},

	{Name: "enable-log-rotation", Class: Refused, Kind: Bool, Default: "false",
		Help: "log files are not rotated yet: log to stderr and let journald or the container's runtime rotate"},
	{Name: "log-rotation-config-json", Class: Tuning, Help: "means something together with --enable-log-rotation only, which is refused"},

	{Name: "auto-compaction-mode", Class: Tuning, Default: "periodic", Choices: []string{"periodic", "revision"}, Missing: true, Help: noCompaction},
	{Name: "auto-compaction-retention", Class: Tuning, Default: "0", Missing: true, Help: noCompaction},
	{Name: "compaction-batch-limit", Class: Tuning, Kind: Count, Default: "1000", Former: []string{"experimental-compaction-batch-limit"},
		Help: "a compaction does not hold up writes, so that its batches need no limit"},
	{Name: "compaction-sleep-interval", Class: Tuning, Kind: Duration, Default: "10ms", Former: []string{"experimental-compaction-sleep-interval"},
		Help: "a compaction does not hold up writes, so that it need not pause"},
	{Name: "watch-progress-notify-interval", Kind: Duration, Default: "10m0s", Former: []string{"experimental-watch-progress-notify-interval"},
		Help: "how often watchers that ask for it are told how far they are, where nothing else was told"},
	{Name: "warning-apply-duration", Class: Tuning, Kind: Duration, Default: "100ms", Former: []string{"experimental-warning-apply-duration"}, Help: noSlowLog},
	{Name: "warning-unary-request-duration", Class: Tuning, Kind: Duration, Default: "300ms",
		Former: []string{"experimental-warning-unary-request-duration"}, Help: noSlowLog},
	{Name: "downgrade-check-time", Class: Tuning, Kind: Duration, Default: "5s", Former: []string{"experimental-downgrade-check-time"}, Help: noDowngrade},
	{Name: "initial-corrupt-check", Class: Tuning, Kind: Bool, Default: "false", Missing: true,
		Former: []string{"experimental-initial-corrupt-check"}, Help: noComparison},
	{Name: "corrupt-check-time", Class: Tuning, Kind: Duration, Default: "0s", Missing: true,
		Former: []string{"experimental-corrupt-check-time"}, Help: noComparison},
	{Name: "compact-hash-check-enabled", Class: Tuning, Kind: Bool, Default: "false", Missing: true,
		Former: []string{"experimental-compact-hash-check-enabled"}, Help: noComparison},
	{Name: "compact-hash-check-time", Class: Tuning, Kind: Duration, Default: "1m0s", Missing: true,
		Former: []string{"experimental-compact-hash-check-time"}, Help: noComparison},
	{Name: "feature-gates", Class: Tuning, Kind: List, Missing: true,
		Help: "features are not gated here; InitialCorruptCheck and CompactHashCheck: " + noComparison},
	{Name: "experimental-enable-lease-checkpoint", Class: Tuning, Kind: Bool, Default: "false", Help: "leases always keep their time over a change of leader"},
	{Name: "experimental-enable-lease-checkpoint-persist", Class: Tuning, Kind: Bool, Default: "false", Help: "leases always keep their time over a change of leader"},
	{Name: "experimental-txn-mode-write-with-shared-buffer", Class: Tuning, Kind: Bool, Default: "true", Help: "the store has no such buffer to share or copy"},
	{Name: "experimental-stop-grpc-service-on-defrag", Class: Tuning, Kind: Bool, Default: "false", Help: "the store never needs defragmentation"},
	{Name: "experimental-set-member-localaddr", Class: Tuning, Kind: Bool, Default: "false",
		Help: "members know each other by a handshake, not by the address they dial from"},

	{Name: "enable-distributed-tracing", Class: Tuning, Kind: Bool, Default: "false", Missing: true,
		Former: []string{"experimental-enable-distributed-tracing"}, Help: noTracing},
	{Name: "distributed-tracing-address", Class: Tuning, Default: "localhost:4317", Former: []string{"experimental-distributed-tracing-address"}, Help: noTracing},
	{Name: "distributed-tracing-service-name", Class: Tuning, Default: "etcd", Former: []string{"experimental-distributed-tracing-service-name"}, Help: noTracing},
	{Name: "distributed-tracing-instance-id", Class: Tuning, Former: []string{"experimental-distributed-tracing-instance-id"}, Help: noTracing},
	{Name: "distributed-tracing-sampling-rate", Class: Tuning, Kind: Count, Default: "0",
		Former: []string{"experimental-distributed-tracing-sampling-rate"}, Help: noTracing},
}}

// ours holds what etcd does not have and an operator may want.
var ours = Section{"Balsa's own", []Flag{
	{Name: "snapshot-rate", Kind: Rate, Default: "64MiB",
		Help: "how many bytes a second of snapshots this member sends, all together, and reads or writes to make or restore them: 64MiB, 500KiB, or unlimited"},
	{Name: "snapshot-from", Default: "follower", Choices: []string{"follower", "leader"},
		Help: "who sends a snapshot while this member leads: a follower that is up to date, where there is one, or always the leader"},
	{Name: "max-cluster-level", Kind: Count, Default: "0",
		Help: "the highest cluster level that this member claims to speak (0: all that its build does). While one member claims less the cluster's level does not rise, and all can go back to the build before"},
}}

// testingOnly holds what etcd does not have: switches that make a real process break in ways that a test wants.
var testingOnly = Section{"Testing only", []Flag{
	{Name: "testing-hold-unsynced-writes", Kind: Bool, Default: "false",
		Help: "keep what is written to the log in memory until it is synced, so that kill -9 loses what a power cut would"},
	{Name: "testing-fail-log-sync", Default: "",
		Help: "a file: once it is there, the next sync of the log fails, as that of a broken disk does"},
	{Name: "testing-log-segment-bytes", Kind: Count, Default: "0",
		Help: "make the log's files so small, and cut the log so early, that followers soon need snapshots (0: as usual)"},
}}
