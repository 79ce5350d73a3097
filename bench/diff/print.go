package diff

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// printMessage writes every field that is set, unknown ones too, on one line and always in the same way (prototext
// promises neither). prototext can read it, save for masked and unknown fields and for long values.
func printMessage(m proto.Message) string { return printFields(m.ProtoReflect()) }

func printFields(m protoreflect.Message) string {
	var parts []string
	for _, field := range setFields(m) {
		value := m.Get(field)
		if !field.IsList() {
			parts = append(parts, string(field.Name())+":"+printValue(field, value))
			continue
		}
		for i := range value.List().Len() {
			parts = append(parts, string(field.Name())+":"+printValue(field, value.List().Get(i)))
		}
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		parts = append(parts, fmt.Sprintf("unknown:%q", unknown))
	}
	return strings.Join(parts, " ")
}

func printValue(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return "{" + printFields(value.Message()) + "}"
	case protoreflect.BytesKind:
		return quote(string(value.Bytes()))
	case protoreflect.StringKind:
		return quote(value.String())
	case protoreflect.EnumKind:
		if known := field.Enum().Values().ByNumber(value.Enum()); known != nil {
			return string(known.Name())
		}
		return strconv.Itoa(int(value.Enum()))
	}
	if masked[field.FullName()] {
		return "*"
	}
	return value.String()
}

const hexDigits = "0123456789abcdef"

// quote escapes bytes one by one: text that is valid UTF-8 by chance looks like the rest. Long ones are told by their hash.
func quote(s string) string {
	const long = 128
	if len(s) > long {
		return fmt.Sprintf("(%d bytes, SHA-256 %x)", len(s), sha256.Sum256([]byte(s)))
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
