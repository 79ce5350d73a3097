package etcdflags

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// unlimited is the value of a flag of kind Rate that means no bound.
const unlimited = "unlimited"

// units of a flag of kind Rate, the longer ones first.
var units = []struct {
	name  string
	bytes uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// parseRate returns bytes a second, -1 for no bound.
func parseRate(value string) (int64, error) {
	if value == unlimited {
		return -1, nil
	}
	number, factor := value, uint64(1)
	for _, unit := range units {
		if rest, has := strings.CutSuffix(value, unit.name); has {
			number, factor = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("it must be bytes a second such as 64MiB or 500KiB, above 0, or %s", unlimited)
	}
	return int64(n * factor), nil
}

// Rate returns the value of a flag of kind Rate in bytes a second, -1 for no bound.
func (s *Settings) Rate(name string) int64 {
	rate, _ := parseRate(s.String(name)) // checked when it was set
	return rate
}
