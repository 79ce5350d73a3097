module github.com/balsadb/balsa/examples/counter

go 1.26.0

require github.com/balsadb/balsa v0.0.0

require golang.org/x/sys v0.49.0 // indirect

replace github.com/balsadb/balsa => ../..
