# The things one does daily. CI runs .ci/run, which has the rest.

.PHONY: build test race lint demo ci

build: ## the binary, without cgo
	CGO_ENABLED=0 go build -o balsa ./cmd/balsa

test: ## all tests of this module
	go test ./...

race: ## the tests of packages in which goroutines meet, under the race detector
	bash .ci/run race

lint: ## formatting, vet, staticcheck, and the rules that keep actors replayable
	bash .ci/run format vet staticcheck lint

demo: ## three servers on this machine
	go run ./cmd/balsa demo

ci: ## all that must hold before a change lands
	bash .ci/run
