# The index of this repository: `make` alone lists what there is.

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench up down status env build lint fmt clean

help: ## this list
	@sed -n 's/^\([a-z]*\): ## \(.*\)/  make \1	\2/p' Makefile | expand -t 16

demo: ## see it work: two logins, and an evening of a company (first run: about 3 minutes)
	@scripts/demo.sh run

test: ## everything that must hold: formatting, lints, all tests (first run: about 12 minutes)
	@scripts/test.sh

faults: ## kill everything for FAULTS_SECONDS (1200): nothing may be lost; target/faults.json
	@scripts/prerequisites.sh test
	FAULTS_SECONDS=$${FAULTS_SECONDS:-1200} cargo test -p stepup-workers --features faults \
		--test it faults:: -- --nocapture

bench: ## how fast it is, against the broker's own limit (BENCH_SECONDS=5: the short form)
	@scripts/bench.sh

up: ## find or start RabbitMQ and PostgreSQL (kept in .services, free loopback ports)
	@scripts/services.sh up

down: ## stop what was started here and remove its data
	@scripts/demo.sh stop
	@scripts/services.sh down

status: ## what runs, and on which ports
	@scripts/services.sh status
	@scripts/demo.sh status

env: ## for a shell, eval "$(make env)": the servers, and the demo if it runs
	@scripts/services.sh env
	@scripts/demo.sh env

build: ## compile the program: target/debug/stepup
	@scripts/prerequisites.sh build
	cargo build --workspace

lint: ## formatting and clippy, without the tests
	@scripts/prerequisites.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format the source
	cargo fmt --all

clean: ## down, and remove everything that was built or downloaded
	@$(MAKE) --no-print-directory down
	cargo clean
	rm -rf .services
