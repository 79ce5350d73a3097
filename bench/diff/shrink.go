package diff

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shrink makes a stream that the sides answer differently as short and simple as it gets in at most tries attempts. The
// difference at its end need not be the first one's: any is worth knowing.
func (p pair) shrink(ctx context.Context, d *difference, tries int) *difference {
	fails := func(stream []call) bool {
		if tries <= 0 {
			return false
		}
		tries--
		smaller, err := p.run(ctx, stream)
		if err != nil || smaller == nil {
			return false
		}
		d = smaller
		return true
	}
	for before := -1; before != weight(d.stream) && tries > 0; {
		before = weight(d.stream)
		dropCalls(func() []call { return d.stream }, fails)
		simplifyCalls(func() []call { return d.stream }, fails)
	}
	return d
}

// weight is what shrinking lessens.
func weight(stream []call) int {
	total := 0
	for _, c := range stream {
		total += 1 + c.member + len(printMessage(c.request))
	}
	return total
}

// dropCalls leaves out runs of calls, long ones first. The last call stays: it shows the difference.
func dropCalls(current func() []call, fails func([]call) bool) {
	for size := len(current()) / 2; size > 0; size /= 2 {
		for at := 0; at+size < len(current()); {
			if !fails(slices.Delete(slices.Clone(current()), at, at+size)) {
				at += size
			}
		}
	}
}

// simplifyCalls takes from each call what is not needed: the member, fields, elements of lists.
func simplifyCalls(current func() []call, fails func([]call) bool) {
	for i := len(current()) - 1; i >= 0; i-- {
		for n := 0; i < len(current()); {
			simpler, ok := simplify(current()[i], n)
			if !ok {
				break
			}
			stream := slices.Clone(current())
			stream[i] = simpler
			if !fails(stream) {
				n++ // that one was needed
			}
		}
	}
}

// simplify returns the call with its n-th part taken away, and false where it has fewer.
func simplify(c call, n int) (call, bool) {
	if c.member > 0 {
		if n == 0 {
			c.member = 0
			return c, true
		}
		n--
	}
	c.request = proto.Clone(c.request)
	return c, takeAway(c.request.ProtoReflect(), &n)
}

// takeAway clears the n-th thing that is set in m, counted through all that is nested; what holds others comes before them.
func takeAway(m protoreflect.Message, n *int) (done bool) {
	for _, field := range setFields(m) {
		switch value := m.Get(field); {
		case field.IsList():
			done = takeFromList(field, value.List(), n)
		default:
			if done = *n == 0; done {
				m.Clear(field)
			} else if *n--; field.Kind() == protoreflect.MessageKind {
				done = takeAway(value.Message(), n)
			}
		}
		if done {
			return true
		}
	}
	return false
}

func takeFromList(field protoreflect.FieldDescriptor, list protoreflect.List, n *int) bool {
	for i := range list.Len() {
		if *n == 0 {
			for j := i; j+1 < list.Len(); j++ {
				list.Set(j, list.Get(j+1))
			}
			list.Truncate(list.Len() - 1)
			return true
		}
		*n--
		if field.Kind() == protoreflect.MessageKind && takeAway(list.Get(i).Message(), n) {
			return true
		}
	}
	return false
}

func setFields(m protoreflect.Message) []protoreflect.FieldDescriptor {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, field)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	return fields
}
