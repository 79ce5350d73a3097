package store

import "github.com/balsadb/balsa"

// CommandLevel implements balsa.Leveled: which level the group must have before a command of a kind may be proposed. balsa's
// level.go has the table of levels. What is no command, or of a kind that nobody knows, is left to Apply.
func (s *Store) CommandLevel(payload []byte) balsa.Level { return CommandKind(payload).level() }

func (k Kind) level() balsa.Level {
	switch k {
	case KindAlarm, KindQuota:
		return 2
	}
	return balsa.FirstLevel
}

var _ balsa.Leveled = (*Store)(nil)
