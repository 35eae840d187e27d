#!/usr/bin/env bash
#
# Everything that must hold before a change goes in: formatting, lints, alarms, all tests. The servers
# start while the first compilation runs, and stay afterwards (`make down` removes them). They are
# private ones, also where Docker is: the tests search the servers' files and kill their processes.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$REPOSITORY"

step() {
    printf '\n== %s (after %d s)\n' "$1" "$SECONDS"
}

# In CI the versions in Cargo.lock are the ones to test; at a desk cargo may still add one.
LOCKED=()
[[ -z ${CI:-} ]] || LOCKED=(--locked)

cat <<'TEXT'
Checks the formatting, runs the lints and all tests, against a real RabbitMQ and PostgreSQL.
About 12 minutes the first time, on two cores: it compiles for about 3 of them and may install the two
servers' packages, which needs root or sudo. About 7 minutes after that.
TEXT

step 'prerequisites'
scripts/prerequisites.sh test
STEPUP_PYTHON=$(scripts/python.sh)
export STEPUP_PYTHON
promtool=$(scripts/promtool.sh)

step 'servers, in the background'
scripts/services.sh up --private <&0 &
servers=$!
# Left to itself it would go on working after a failed step.
trap 'wait' EXIT

step 'alarms: promtool test rules'
"$promtool" check config deploy/prometheus.yml
"$promtool" test rules deploy/alerts_test.yml

step 'formatting: cargo fmt --check'
cargo fmt --all --check

step 'lints: cargo clippy'
cargo clippy "${LOCKED[@]}" --workspace --all-targets -- -D warnings
cargo clippy "${LOCKED[@]}" -p stepup -p stepup-workers --features stepup-workers/faults \
    --all-targets -- -D warnings

step 'compiling the tests'
cargo test "${LOCKED[@]}" --workspace --no-run
cargo build "${LOCKED[@]}" --workspace --bin stepup --bin stepup-harness
cargo test "${LOCKED[@]}" -p stepup-workers --features faults --test it --no-run

wait "$servers" || {
    echo 'test: the servers could not be started; what is wrong stands above.' >&2
    exit 1
}
environment=$(scripts/services.sh env)
eval "$environment"

step 'tests: cargo test'
cargo test "${LOCKED[@]}" --workspace
cargo test "${LOCKED[@]}" -p amq-protocol-types --lib

step 'bench: the short form, with a build for tests (make bench is the long one)'
BENCH_BINARY=${CARGO_TARGET_DIR:-target}/debug/stepup scripts/bench.sh short

step 'faults: the short form (make faults is the long one)'
cargo test "${LOCKED[@]}" -p stepup-workers --features faults --test it faults:: -- --nocapture

step 'all of it passed'
