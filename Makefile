# make help says what each target does.
GO ?= go
BIN := bin/muster

# How many certificates both verifiers are shown, and how many jobs' histories
# are checked.
CERTIFICATES ?= 3000000
N ?= 1000

# How many schedules the simulator plays.
SEEDS ?= 1000000

# How long each fuzz target runs.
FUZZTIME ?= 60s

# How many scenarios of two twins among seven it plays.
TWINS ?= 100000

.PHONY: help build demo test check differential fuzz histories model sim twins mutants testnet bench clean

help: ## say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

build: ## build bin/muster
	$(GO) build -o $(BIN) ./cmd/muster

demo: build ## seven nodes: a liar outvoted, a dead member replaced, certificates verified offline
	sh testnet/demo.sh $(BIN)

test: build ## all tests, with the race detector, on real processes too; 20,000 simulated schedules without it
	MUSTER_BIN=$(CURDIR)/$(BIN) $(GO) test -race -timeout 20m ./...
	$(GO) test -timeout 10m ./consensus/sim

check: ## formatting, vet, the rules of the house, the linter
	@test -z "$$(gofmt -l . )" || { gofmt -l .; echo "gofmt these"; exit 1; }
	$(GO) vet ./...
	$(GO) test -count=1 -run TestHouse .
	sh .ci/lint

differential: ## millions of certificates before two verifiers (CERTIFICATES=n)
	GOMAXPROCS=1 nice -n 19 $(GO) test -count=1 -timeout 0 -v ./consensus/naivetest -args -certificates $(CERTIFICATES)

sim: ## quorums in virtual time under faults and lies (SEEDS=n)
	GOMAXPROCS=1 nice -n 19 $(GO) run ./cmd/sim -seeds $(SEEDS)

twins: ## two processes with one key: all scenarios of n = 4, some of n = 7 (TWINS=n)
	GOMAXPROCS=1 nice -n 19 $(GO) run ./cmd/sim -twins $(TWINS)

mutants: ## seeded mistakes, and the test that sees each
	consensus/sim/mutants/check

model: ## search the models of agreement exhaustively, with spin (docs/model.md)
	sh consensus/model/check

fuzz: ## every fuzz target, one after another (FUZZTIME=60s each)
	GO=$(GO) sh .ci/fuzz $(FUZZTIME)

histories: build ## what clients saw of N jobs while nodes were killed, checked
	MUSTER_BIN=$(CURDIR)/$(BIN) nice -n 19 $(GO) test -count=1 -timeout 0 -v -run TestHistories ./testnet -args -histories $(N)

testnet: build ## four nodes in the foreground
	$(BIN) testnet up

bench: build ## measure muster against its own testnet of four processes
	$(BIN) bench

clean: ## remove what was built
	rm -rf bin .bin
