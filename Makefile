GO ?= go

.PHONY: build test race lint fuzz bench e2e crash cross

build: ## the three programs, static and stripped, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ ./cmd/...

test:
	$(GO) test ./...

race:
	$(GO) test -race -shuffle=on ./...

lint:
	$(GO) vet ./...
	golangci-lint run

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME
	@$(GO) list ./... | while read pkg; do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; done

bench: ## the table of docs/benchmarks.md
	$(GO) run ./bench -out docs/benchmarks.md

e2e:
	$(GO) test -race ./e2e/...

crash: ## ten minutes of kill -9 and cut lines
	PENSTOCK_CRASH=10m $(GO) test -race -timeout 30m -run TestCrash ./e2e/crash

cross: ## does it build where devices are
	@for t in linux/amd64 linux/arm64 linux/arm darwin/arm64; do \
	  echo $$t; GOOS=$${t%/*} GOARCH=$${t#*/} CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/... || exit 1; done
