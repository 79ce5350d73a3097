package determinism

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/analysis"
)

// Analyzer reports code in the packages of scope.go whose behaviour could differ between two runs of one seed.
var Analyzer = &analysis.Analyzer{
	Name: "determinism",
	Doc:  "report goroutines, clocks, randomness, select and unordered iteration in code that must replay",
	URL:  "https://" + module + "/tools/determinism",
	Run:  run,
}

func run(pass *analysis.Pass) (any, error) {
	scope := scopeOf(pass.Pkg.Path())
	if scope == nil {
		return nil, nil
	}
	for _, file := range pass.Files {
		if scope.covers(pass.Fset.Position(file.Package).Filename) {
			checkFile(pass, scope, file)
		}
	}
	return nil, nil
}

// checker walks one file.
type checker struct {
	pass       *analysis.Pass
	scope      *scope
	directives []*directive
	sorted     map[ast.Node]bool // calls whose result is sorted at once
}

func checkFile(pass *analysis.Pass, scope *scope, file *ast.File) {
	c := &checker{pass, scope, directivesOf(pass.Fset, file), map[ast.Node]bool{}}
	ast.Inspect(file, c.visit)
	for _, d := range c.directives {
		switch {
		case d.reason == "":
			pass.Reportf(d.pos, "%s needs a reason: say in a few words why this is safe", d.kind)
		case !d.used:
			pass.Reportf(d.pos, "%s excuses nothing here: remove it", d.kind)
		}
	}
}

func (c *checker) visit(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.GoStmt:
		c.report(n.Pos(), "go: an actor starts no goroutine; post to a mailbox, or do it at the edge", edge)
	case *ast.SelectStmt:
		if len(n.Body.List) > 1 {
			c.report(n.Pos(), "select: with several cases the runtime picks at random; an actor takes from its mailbox", edge)
		}
	case *ast.RangeStmt:
		if isMap(c.pass.TypesInfo.TypeOf(n.X)) && !rangesForCountOnly(n) {
			c.report(n.Pos(), "map: the order of this range differs from run to run; sort the keys, or say //balsa:unordered and why",
				unordered, edge)
		}
	case *ast.CallExpr:
		c.noteSorted(n)
	case *ast.SelectorExpr:
		c.checkUse(n)
	}
	return true
}

// rangesForCountOnly reports whether neither key nor value is looked at.
func rangesForCountOnly(n *ast.RangeStmt) bool { return blank(n.Key) && blank(n.Value) }

func blank(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return e == nil || ok && id.Name == "_"
}

func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	_, ok := t.Underlying().(*types.Map)
	return ok
}

// noteSorted remembers the argument of slices.Sorted and its kin: there an unordered iterator is in order.
func (c *checker) noteSorted(call *ast.CallExpr) {
	obj := c.object(call.Fun)
	if obj == nil || obj.Pkg() == nil || obj.Pkg().Path() != "slices" || len(call.Args) == 0 {
		return
	}
	switch obj.Name() {
	case "Sorted", "SortedFunc", "SortedStableFunc":
		if inner, ok := ast.Unparen(call.Args[0]).(*ast.CallExpr); ok {
			c.sorted[ast.Unparen(inner.Fun)] = true
		}
	}
}

func (c *checker) object(fun ast.Expr) types.Object {
	switch f := ast.Unparen(fun).(type) {
	case *ast.SelectorExpr:
		return c.pass.TypesInfo.Uses[f.Sel]
	case *ast.IndexExpr:
		return c.object(f.X)
	}
	return nil
}

// checkUse judges a name of another package by the table of rules.
func (c *checker) checkUse(sel *ast.SelectorExpr) {
	obj := c.pass.TypesInfo.Uses[sel.Sel]
	if obj == nil || obj.Pkg() == nil || obj.Parent() != obj.Pkg().Scope() {
		return // a method or field, not a package's own name
	}
	if rule := ruleFor(obj); rule != "" && !c.sorted[sel] {
		c.report(sel.Pos(), rule, edge, unordered)
	}
}

func (c *checker) report(pos token.Pos, message string, excuses ...string) {
	if !excused(c.directives, c.pass.Fset.Position(pos).Line, excuses...) {
		c.pass.Reportf(pos, "%s (%s)", message, c.scope.why)
	}
}
