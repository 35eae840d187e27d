#!/usr/bin/env bash
#
# Measures the product as a site would run it, a process for each role that a login is busy with, on servers of its own: flat
# out, at a tenth of that over AMQP and over HTTP, idle, and stopped under load. Prints what must be
# reached, each as a ratio to the bare paths of the same run, with met or not met; writes all figures
# into target/bench.json. docs/performance.md says what they mean.
#
#   scripts/bench.sh            the whole of it; the exit code tells whether anything was lost
#   scripts/bench.sh short      a minute of it; fails where a login costs more than it should on any
#                               machine: messages, commits, latency far from the bare step
#   scripts/bench.sh up         only starts the servers and the processes, for `stepup-harness load` by hand
#   scripts/bench.sh load ARGS… `stepup-harness load ARGS…` against what `up` has started
#   scripts/bench.sh down       stops and removes them
#
# BENCH_SECONDS        how long flat out is measured, the other parts half as long (default: 30);
#                      10 or less is the short form of about a minute
# BENCH_BINARY         the program (default: target/release/stepup, built first); BENCH_HARNESS is the load
#                      generator and the simulator (default: BENCH_BINARY with `-harness` behind it)

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$REPOSITORY"
export STEPUP_SERVICES_DIR=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/bench
STATE=$STEPUP_SERVICES_DIR/processes
TARGET=${CARGO_TARGET_DIR:-$REPOSITORY/target}
BINARY=${BENCH_BINARY:-$TARGET/release/stepup}
HARNESS=${BENCH_HARNESS:-$BINARY-harness}
SECONDS_MAX=${BENCH_SECONDS:-30}
REPORT=$TARGET/bench.json
[[ ${1:-} != short ]] || SECONDS_MAX=5 REPORT=$TARGET/bench-short.json
# The fallback may not come before the longest transaction is over.
FALLBACK_SECONDS=15 TRANSACTION_SECONDS=5
((SECONDS_MAX > 10)) || FALLBACK_SECONDS=4 TRANSACTION_SECONDS=2
SPEAKER=bench
# shellcheck source=scripts/measure.sh
source scripts/measure.sh

# The process that uses most, in percent of a core and in MiB, over some seconds without work.
idle() { # SECONDS
    local at before=() cpu memory
    for at in "${!ROLES[@]}"; do
        before[at]=$(metric "${METRICS_PORTS[$at]}" process_cpu_seconds_total)
    done
    sleep "$1"
    IDLE_CPU=0 IDLE_MEMORY=0
    for at in "${!ROLES[@]}"; do
        cpu=$(metric "${METRICS_PORTS[$at]}" process_cpu_seconds_total)
        cpu=$(calculate "100 * ($cpu - ${before[$at]}) / $1")
        memory=$(metric "${METRICS_PORTS[$at]}" process_resident_memory_bytes)
        memory=$(calculate "$memory / 1048576")
        say "idle: ${ROLES[$at]} $cpu % CPU, $memory MiB"
        ! holds "$cpu > $IDLE_CPU" || IDLE_CPU=$cpu
        ! holds "$memory > $IDLE_MEMORY" || IDLE_MEMORY=$memory
    done
}

# Stops every process under full load and starts it again. How long the slowest took to drain.
stop_under_load() {
    local role began code=0
    load --seconds 8 --warm-up-seconds 1 --bare-seconds 0 --fallback-share 0 --members 6000 \
        --json "$STATE/stop.json" 2> >(tee "$STATE/stop.log" >&2) &
    local driving=$!
    # Once the first logins are through.
    until grep -q 'under way' "$STATE/stop.log" 2>/dev/null || ! kill -0 "$driving" 2>/dev/null; do
        sleep 0.1
    done
    sleep 2
    began=${EPOCHREALTIME/[.,]/}
    say 'SIGTERM to every process'
    for role in "${ROLES[@]}"; do
        end_process "$role" TERM &
    done
    for role in "${ROLES[@]}"; do
        while alive "$role"; do sleep 0.02; done
    done
    DRAIN_SECONDS=$(calculate "(${EPOCHREALTIME/[.,]/} - $began) / 1000000")
    say "all have ended after $DRAIN_SECONDS s; starting them again"
    launch_roles
    wait "$driving" || code=1
    return "$code"
}

bench() { # [LIMITS]
    local limits=${1:-0} code=0 short=0 half bare=4 warm=2 wait_idle=10 tenth
    half=$(calculate "($SECONDS_MAX + 1) / 2")
    if ((SECONDS_MAX <= 10)); then
        short=1 bare=1 warm=1 wait_idle=3
    fi
    up
    trap down EXIT
    local flat=$STATE/flat.json amqp=$STATE/amqp.json http=$STATE/http.json

    say "flat out over AMQP, $SECONDS_MAX s"
    load --seconds "$SECONDS_MAX" --warm-up-seconds "$warm" --bare-seconds "$bare" \
        --json "$flat" || code=1
    tenth=$(calculate "$(figure "$flat" logins_per_second) / 10")
    say "a tenth of that, $tenth logins/s, over AMQP"
    load --rate "$tenth" --seconds "$half" --warm-up-seconds "$warm" --bare-seconds "$bare" \
        --fallback-share 0.02 --json "$amqp" || code=1
    say 'and over HTTP'
    load --over http --rate "$tenth" --seconds "$half" --warm-up-seconds "$warm" \
        --bare-seconds 0 --fallback-share 0 --json "$http" || code=1
    say 'idle'
    sleep 2
    idle "$wait_idle"
    stop_under_load || code=1

    mkdir -p "$TARGET"
    {
        printf '{"flat_out": %s,\n"tenth_amqp": %s,\n"tenth_http": %s,\n"stop": %s,\n' \
            "$(<"$flat")" "$(<"$amqp")" "$(<"$http")" "$(<"$STATE/stop.json")"
        printf '"idle": {"cpu_percent_max": %s, "rss_mib_max": %s},\n"drain_seconds": %s}\n' \
            "$IDLE_CPU" "$IDLE_MEMORY" "$DRAIN_SECONDS"
    } >"$REPORT"
    summary "$flat" "$amqp" "$http"
    ((limits == 0)) || within_limits "$flat" "$amqp" || code=1
    ((short == 0)) || say 'this was the short form: figures of so few seconds say little'
    ((code == 0)) || say 'something was lost or came twice: see above'
    return "$code"
}

# What does not hang on the machine, and far above what is measured, so that only a change of the
# product's own trips over it.
within_limits() { # FLAT AMQP
    local flat=$1 amqp=$2 code=0 messages commits sms verify
    messages=$(figure "$flat" messages_per_login) commits=$(figure "$flat" commits_per_login)
    sms=$(calculate "$(figure "$amqp" request_to_sms_ms p50) / $(figure "$amqp" bare_step_ms p50)")
    verify=$(calculate "$(figure "$amqp" verify_ms p50) / $(figure "$amqp" bare_step_ms p50)")
    limit 'messages a login' "$messages" 6.3 || code=1
    limit 'commits a login, flat out' "$commits" 3 || code=1
    limit 'request to SMS, in bare steps' "$sms" 40 || code=1
    limit 'verify, in bare steps' "$verify" 20 || code=1
    return "$code"
}

limit() { # WHAT MEASURED MOST
    holds "$2 > 0 && $2 <= $3" && return
    say "$1: $2, and may be $3 at most"
    return 1
}

summary() { # FLAT AMQP HTTP
    local flat=$1 amqp=$2 http=$3 share step50 step99 sms50 sms99 ver50 ver99 more late
    share=$(calculate "100 * $(figure "$flat" share_of_broker_limit)")
    step50=$(figure "$amqp" bare_step_ms p50) step99=$(figure "$amqp" bare_step_ms p99)
    sms50=$(calculate "$(figure "$amqp" request_to_sms_ms p50) / $step50")
    sms99=$(calculate "$(figure "$amqp" request_to_sms_ms p99) / $step99")
    ver50=$(calculate "$(figure "$amqp" verify_ms p50) / $step50")
    ver99=$(calculate "$(figure "$amqp" verify_ms p99) / $step99")
    more=$(calculate "$(figure "$http" verify_ms p50) - $(figure "$amqp" verify_ms p50)")
    late=$(figure "$flat" fallback_late_ms p99)
    echo
    printf '%-38s %-30s %-24s\n' '' 'target' 'measured'
    row 'logins flat out' '>= 50 % of the broker limit' \
        "$share % ($(figure "$flat" logins_per_second)/s)" "$share >= 50"
    row 'request to SMS at a tenth' 'p50 <= 3 x the bare step' "$sms50 x" "$sms50 <= 3"
    row '' 'p99 <= 5 x the bare step' "$sms99 x" "$sms99 <= 5"
    row 'verify over AMQP at a tenth' 'p50 <= 2 x the bare step' "$ver50 x" "$ver50 <= 2"
    row '' 'p99 <= 4 x the bare step' "$ver99 x" "$ver99 <= 4"
    row 'verify over HTTP at a tenth' 'p50 at most 1 ms more' "$more ms" "$more <= 1"
    row 'email fallback' 'p99 at most 1 s late' "$late ms" "$late <= 1000"
    row 'idle' '< 1 % CPU a process' "$IDLE_CPU %" "$IDLE_CPU < 1"
    row '' '< 40 MiB a process' "$IDLE_MEMORY MiB" "$IDLE_MEMORY < 40"
    row 'SIGTERM under load' 'drained in <= 10 s' "$DRAIN_SECONDS s" "$DRAIN_SECONDS <= 10"
    local lost=0 name
    for name in "$flat" "$amqp" "$http" "$STATE/stop.json"; do
        lost=$((lost + $(figure "$name" lost) + $(figure "$name" doubled)))
    done
    row 'in all of it' 'nothing lost or doubled' "$lost" "$lost == 0"
    echo
    echo "all figures: $REPORT"
}

case ${1:-} in
'') bench ;;
short) bench 1 ;;
up) up ;;
load)
    set_environment
    load "${@:2}"
    ;;
down) down ;;
*)
    sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
