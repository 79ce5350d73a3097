package determinism

import (
	"go/ast"
	"go/token"
	"strings"
)

const (
	unordered = "//balsa:unordered"
	edge      = "//balsa:edge"
)

// directive is one comment that excuses findings on the lines [from, to].
type directive struct {
	kind     string
	reason   string
	pos      token.Pos
	from, to int
	used     bool
}

// directivesOf collects a file's directives. One in a function's comment covers the function; any other
// covers its own line and the next.
func directivesOf(fset *token.FileSet, file *ast.File) []*directive {
	bodies := map[*ast.CommentGroup]*ast.FuncDecl{}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Doc != nil {
			bodies[f.Doc] = f
		}
	}
	var found []*directive
	for _, group := range file.Comments {
		for _, comment := range group.List {
			kind, reason, ok := cutDirective(comment.Text)
			if !ok {
				continue
			}
			line := fset.Position(comment.Pos()).Line
			d := &directive{kind: kind, reason: reason, pos: comment.Pos(), from: line, to: fset.Position(group.End()).Line + 1}
			if f := bodies[group]; f != nil {
				d.to = fset.Position(f.End()).Line
			}
			found = append(found, d)
		}
	}
	return found
}

func cutDirective(text string) (kind, reason string, ok bool) {
	for _, kind := range []string{unordered, edge} {
		if rest, found := strings.CutPrefix(text, kind); found && (rest == "" || rest[0] == ' ') {
			return kind, strings.TrimSpace(rest), true
		}
	}
	return "", "", false
}

// excused reports whether a directive of one of the kinds covers the line, and marks it as used.
func excused(directives []*directive, line int, kinds ...string) bool {
	hit := false
	for _, d := range directives {
		for _, kind := range kinds {
			if d.kind == kind && d.from <= line && line <= d.to {
				d.used, hit = true, true
			}
		}
	}
	return hit
}
