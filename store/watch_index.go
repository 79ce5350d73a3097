package store

// watcherIndex finds the watchers of a key. Those of single keys are in a map; those of ranges in a balanced tree
// sorted by where the ranges begin, whose nodes also know how far the ranges below them reach, so that finding n
// watchers among many takes time that grows with n and with the logarithm of many. Watchers of the same range share
// a node. A watcher is in one index at a time.
type watcherIndex struct {
	keys   map[string]*crowd
	ranges *rangeNode
	size   int
}

// crowd is the watchers of the same key or range, in no particular order, which is yet the same in each run.
type crowd struct{ watchers []*Watcher }

func (c *crowd) add(w *Watcher) {
	w.crowd, w.place = c, len(c.watchers)
	c.watchers = append(c.watchers, w)
}

func (c *crowd) remove(w *Watcher) {
	last := len(c.watchers) - 1
	moved := c.watchers[last]
	c.watchers[w.place], moved.place = moved, w.place
	c.watchers[last] = nil
	c.watchers, w.crowd = c.watchers[:last], nil
}

func (x *watcherIndex) add(w *Watcher) {
	x.size++
	if w.in.single {
		c := x.keys[string(w.in.start)]
		if c == nil {
			if x.keys == nil {
				x.keys = map[string]*crowd{}
			}
			c = &crowd{}
			x.keys[string(w.in.start)] = c
		}
		c.add(w)
		return
	}
	var node *rangeNode
	x.ranges, node = x.ranges.insert(span{string(w.in.start), string(w.in.end)})
	node.crowd.add(w)
}

func (x *watcherIndex) remove(w *Watcher) {
	x.size--
	c := w.crowd
	c.remove(w)
	switch {
	case len(c.watchers) > 0:
	case w.in.single:
		delete(x.keys, string(w.in.start))
	default:
		x.ranges = x.ranges.delete(span{string(w.in.start), string(w.in.end)})
	}
}

// visit calls visit for every watcher of key.
func (x *watcherIndex) visit(key []byte, visit func(*Watcher)) {
	if c := x.keys[string(key)]; c != nil {
		for _, w := range c.watchers {
			visit(w)
		}
	}
	x.ranges.visit(string(key), visit)
}

// span is a range of keys; an empty end is open.
type span struct{ start, end string }

func (a span) less(b span) bool { return a.start < b.start || a.start == b.start && a.end < b.end }

// endsAfter reports whether a range with this end may hold key.
func endsAfter(end, key string) bool { return end == "" || end > key }

// rangeNode is a node of an AVL tree; nil is the empty tree.
type rangeNode struct {
	span
	crowd       crowd
	reach       string // the greatest end in this subtree
	height      int
	left, right *rangeNode
}

func (n *rangeNode) visit(key string, visit func(*Watcher)) {
	for n != nil && endsAfter(n.reach, key) {
		n.left.visit(key, visit)
		if n.start > key {
			return
		}
		if endsAfter(n.end, key) {
			for _, w := range n.crowd.watchers {
				visit(w)
			}
		}
		n = n.right
	}
}

// insert returns the tree with a node for s, and that node.
func (n *rangeNode) insert(s span) (root, node *rangeNode) {
	if n == nil {
		node = &rangeNode{span: s, reach: s.end, height: 1}
		return node, node
	}
	switch {
	case s.less(n.span):
		n.left, node = n.left.insert(s)
	case n.less(s):
		n.right, node = n.right.insert(s)
	default:
		return n, n
	}
	return n.balance(), node
}

// delete returns the tree without the node for s, which must be there.
func (n *rangeNode) delete(s span) *rangeNode {
	switch {
	case s.less(n.span):
		n.left = n.left.delete(s)
	case n.less(s):
		n.right = n.right.delete(s)
	case n.left == nil:
		return n.right
	case n.right == nil:
		return n.left
	default:
		rest, first := n.right.cutFirst()
		first.left, first.right = n.left, rest
		n = first
	}
	return n.balance()
}

// cutFirst takes the first node out of a tree.
func (n *rangeNode) cutFirst() (rest, first *rangeNode) {
	if n.left == nil {
		return n.right, n
	}
	n.left, first = n.left.cutFirst()
	return n.balance(), first
}

// balance restores the tree's shape where its two sides differ by two, and what the node knows of them.
func (n *rangeNode) balance() *rangeNode {
	switch lean := n.left.tall() - n.right.tall(); {
	case lean > 1:
		if n.left.left.tall() < n.left.right.tall() {
			n.left = n.left.rotateLeft()
		}
		return n.rotateRight()
	case lean < -1:
		if n.right.right.tall() < n.right.left.tall() {
			n.right = n.right.rotateRight()
		}
		return n.rotateLeft()
	}
	n.update()
	return n
}

func (n *rangeNode) rotateLeft() *rangeNode {
	up := n.right
	n.right, up.left = up.left, n
	n.update()
	up.update()
	return up
}

func (n *rangeNode) rotateRight() *rangeNode {
	up := n.left
	n.left, up.right = up.right, n
	n.update()
	up.update()
	return up
}

func (n *rangeNode) tall() int {
	if n == nil {
		return 0
	}
	return n.height
}

func (n *rangeNode) update() {
	n.height = 1 + max(n.left.tall(), n.right.tall())
	n.reach = n.end
	for _, side := range [...]*rangeNode{n.left, n.right} {
		if side != nil && n.reach != "" && (side.reach == "" || side.reach > n.reach) {
			n.reach = side.reach
		}
	}
}
