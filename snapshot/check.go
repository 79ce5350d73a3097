package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// checker verifies a snapshot that arrives in pieces, cut anywhere, as a Reader does one that is there. It knows up to which
// byte all is good, so that a transfer which broke goes on from there.
type checker struct {
	wants    Kept
	reader   Reader
	head     bool  // was taken
	whole    bool  // the foot was
	verified int64 // the end of the last record that was taken
}

// errAfterFoot is part of what is said of bytes behind a foot.
var errAfterFoot = errors.New("bytes follow its foot")

// check takes the next bytes. After an error it has forgotten all behind verified: that is what to send again.
func (c *checker) check(p []byte) error {
	for len(p) > 0 {
		if c.whole {
			return fmt.Errorf("%w: %w", ErrDamaged, errAfterFoot)
		}
		n, err := c.gather(p)
		if have := len(c.reader.record); err == nil && have > commonSize && have == c.size() {
			err = c.take()
		}
		if err != nil {
			c.reader.record = c.reader.record[:0]
			return err
		}
		p = p[n:]
	}
	return nil
}

// cutShort says that all has come and it is no whole snapshot: a record's size was damaged, so that it seems to go on.
func (c *checker) cutShort() error {
	c.reader.record = c.reader.record[:0]
	return fmt.Errorf("%w: it ends in chunk %d", ErrDamaged, c.reader.chunks)
}

// size is how many bytes the current record has, as far as is known.
func (c *checker) size() int {
	if len(c.reader.record) < commonSize {
		return commonSize
	}
	return int(binary.LittleEndian.Uint32(c.reader.record[12:]))
}

// gather adds to the current record what belongs to it.
func (c *checker) gather(p []byte) (int, error) {
	limit := maxChunk
	if !c.head {
		limit = maxHead
	}
	n := min(len(p), c.size()-len(c.reader.record))
	c.reader.record = append(c.reader.record, p[:n]...)
	if size := c.size(); len(c.reader.record) >= commonSize && (size <= commonSize || size > limit) {
		return n, fmt.Errorf("%w: a record of %d bytes after chunk %d", ErrDamaged, size, c.reader.chunks)
	}
	return n, nil
}

// take verifies the current record, which is complete.
func (c *checker) take() error {
	size := int64(len(c.reader.record))
	var err error
	if !c.head {
		if err = c.reader.takeHead(); err == nil {
			err = c.wants.matches(&c.reader.meta)
		}
		c.head = err == nil
	} else if err = c.reader.take(); err == io.EOF {
		c.whole, err = true, nil
	}
	if err != nil {
		return err
	}
	c.verified += size
	c.reader.record, c.reader.rest = c.reader.record[:0], nil
	return nil
}
