#!/usr/bin/env bash
#
# The main job on one machine, to look at: servers, a simulated SMS carrier and mail server, stepup
# with all its workers, two logins that go through them, and an evening of a made-up company.
#
#   scripts/demo.sh run     starts all of it (anew, if it runs already), shows the logins and the
#                           evening, and leaves it running; the exit code is 0 if all went well
#   scripts/demo.sh env     what the commands of the README and the examples read, as
#                           `export NAME=value` lines; nothing if the demo does not run
#   scripts/demo.sh status  whether stepup and the simulator run, and on which ports
#   scripts/demo.sh stop    stops stepup and the simulator; the servers stay
#
# Files, among them the logs, are in .services/demo.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$REPOSITORY"
STATE=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/demo
BINARY=${CARGO_TARGET_DIR:-$REPOSITORY/target}/debug/stepup
HARNESS=$BINARY-harness
SPEAKER=demo
# shellcheck source=scripts/processes.sh
source scripts/processes.sh

set_environment() {
    set_common_environment
    ENVIRONMENT+=(
        STEPUP_SIM_LEDGER_FILE="$STATE/sim-ledger"
        STEPUP_PREFIX=stepup
        STEPUP_METRICS_ADDR="127.0.0.1:$METRICS_PORT"
        STEPUP_FALLBACK_SECONDS=4
        STEPUP_RESET_HOLD_SECONDS=10
        STEPUP_TRANSACTION_SECONDS=1
        "STEPUP_RESEND_SECONDS=4,4,8,20"
        # Of one number, however often somebody runs it in ten minutes.
        "STEPUP_SENDS_PER_NUMBER=100/600"
        STEPUP_LOG=info
    )
}

# The ports of the last run are taken again where they are free.
choose_demo_ports() {
    local -a names=(HTTP_PORT METRICS_PORT SIM_PORT SMTP_PORT) remembered=()
    local ports
    [[ ! -s $STATE/ports ]] || mapfile -t remembered < <(sed -n 's/^[A-Z]*_PORT=//p' "$STATE/ports")
    ports=$(free_ports "${#names[@]}" "${remembered[@]}")
    paste -d= <(printf '%s\n' "${names[@]}") <(printf '%s\n' "$ports") >"$STATE/ports.new"
    mv "$STATE/ports.new" "$STATE/ports"
    # shellcheck source=/dev/null
    source "$STATE/ports"
}

show_env() {
    local servers url sim key
    alive stepup && alive sim || return 0
    # Those that it was started with: `make test` may have started others since.
    servers=$(cat "$STATE/servers" 2>/dev/null || scripts/services.sh env)
    printf '%s\n' "$servers"
    eval "$servers"
    # shellcheck source=/dev/null
    source "$STATE/ports"
    url=http://127.0.0.1:$HTTP_PORT sim=http://127.0.0.1:$SIM_PORT key=$(<"$STATE/api-key")
    # The short names are those of the documents, the long ones those of the examples.
    printf 'export %s=%q\n' \
        STEPUP "$url" KEY "$key" SIM "$sim" \
        STEPUP_URL "$url" STEPUP_API_KEY "$key" STEPUP_SIM_URL "$sim" \
        STEPUP_APP_AMQP_URL "${STEPUP_DEMO_AMQP_URL:-}" \
        STEPUP_PUBLIC_KEY "$(STEPUP_KEYS_FILE=$STATE/keys "$BINARY" keys public)" \
        STEPUP_APPROVAL_KEYS "$(STEPUP_KEYS_FILE=$STATE/keys "$BINARY" keys approval)"
}

show_status() {
    [[ -s $STATE/ports ]] || return 0
    # shellcheck source=/dev/null
    source "$STATE/ports"
    if alive stepup; then
        printf '%-10s runs, process %s, http://127.0.0.1:%s, metrics on 127.0.0.1:%s\n' stepup \
            "$(process_id stepup)" "$HTTP_PORT" "$METRICS_PORT"
    else
        printf '%-10s stopped\n' stepup
    fi
    if alive sim; then
        printf '%-10s runs, process %s, http://127.0.0.1:%s, mail on 127.0.0.1:%s\n' simulator \
            "$(process_id sim)" "$SIM_PORT" "$SMTP_PORT"
    else
        printf '%-10s stopped\n' simulator
    fi
}

stop() {
    [[ -d $STATE ]] || return 0
    end_process stepup TERM
    end_process sim TERM
}

run() {
    local environment servers
    scripts/prerequisites.sh build
    say 'compiling (the first time about 2 minutes on two cores), meanwhile the servers start'
    scripts/services.sh up <&0 &
    servers=$!
    # Left to itself it would go on working after a failed build.
    trap 'wait' EXIT
    cargo build --workspace --bin stepup --bin stepup-harness
    wait "$servers" || fail 'the servers could not be started; what is wrong stands above.'
    trap - EXIT
    environment=$(scripts/services.sh env)
    eval "$environment"

    write_files
    stop
    (umask 077 && printf '%s\n' "$environment" >"$STATE/servers")
    choose_demo_ports
    set_environment
    say "starting the simulated carrier and mail server on 127.0.0.1:$SIM_PORT"
    launch sim "$HARNESS" sim
    await sim listens "$SIM_PORT"
    say "starting stepup on http://127.0.0.1:$HTTP_PORT (log: $STATE/stepup.log)"
    env -i "${ENVIRONMENT[@]}" "$BINARY" migrate
    launch stepup "$BINARY" all
    await stepup is_ready "$METRICS_PORT"
    say 'ready. To keep this short, the email follows after 4 s here instead of 60 s, and an'
    say 'approved reset of a factor is carried out after 10 s instead of a day.'

    local code=0
    STEPUP_DEMO_URL="http://127.0.0.1:$HTTP_PORT" \
        STEPUP_DEMO_API_KEY_FILE="$STATE/api-key" \
        STEPUP_DEMO_SIM_URL="http://127.0.0.1:$SIM_PORT" \
        STEPUP_DEMO_METRICS_URL="http://127.0.0.1:$METRICS_PORT" \
        "$HARNESS" demo || code=$?
    if ((code == 0)); then
        printf '\n'
        say 'and an evening of a made-up company, by examples/evening.sh (about 20 s):'
        STEPUP_URL="http://127.0.0.1:$HTTP_PORT" \
            STEPUP_API_KEY=$(<"$STATE/api-key") \
            STEPUP_SIM_URL="http://127.0.0.1:$SIM_PORT" \
            examples/evening.sh || code=$?
    fi
    say "left running: http://127.0.0.1:$HTTP_PORT; \`make down\` stops and removes everything"
    say 'for the commands of the README and the examples: eval "$(make env)"'
    return "$code"
}

case ${1:-} in
run) run ;;
env) show_env ;;
status) show_status ;;
stop) stop ;;
*)
    sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
