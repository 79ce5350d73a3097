package store

import (
	"github.com/balsadb/balsa/engine"
)

type collection struct{}

func (c *collection) load(engine.Reader, layout) error { return nil }
func (c *collection) wake(int64)                       {}
