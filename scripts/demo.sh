#!/usr/bin/env bash
#
# The main job on one machine, to look at: servers, a simulated SMS carrier and mail server, stepup
# with all its workers, and logins that go through them.
#
#   scripts/demo.sh run     starts all of it (anew, if it runs already), shows the logins, and
#                           leaves it running; the exit code is that of `stepup demo`
#   scripts/demo.sh stop    stops stepup and the simulator; the servers stay
#
# Files, among them the logs, are in .services/demo.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$REPOSITORY"
STATE=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/demo
BINARY=${CARGO_TARGET_DIR:-$REPOSITORY/target}/debug/stepup
SPEAKER=demo
# shellcheck source=scripts/processes.sh
source scripts/processes.sh

write_files() {
    umask 077
    mkdir -p "$STATE"
    [[ -s $STATE/keys ]] || "$BINARY" keys create "$STATE/keys"
    [[ -s $STATE/api-key ]] || random_hex 32 >"$STATE/api-key"
    [[ -s $STATE/sms-secret ]] ||
        printf 'whsec_%s' "$(head -c 32 /dev/urandom | base64 -w 0)" >"$STATE/sms-secret"
    printf '[{"app":"demo","broker_user":"demo","api_key_sha256":"%s"}]\n' \
        "$(sha256sum <"$STATE/api-key" | cut -d' ' -f1)" >"$STATE/apps.json"
}

# Nothing else reaches the two programs, whatever the calling shell has set.
launch() { # NAME COMMAND…
    local name=$1
    shift
    setsid env -i "${ENVIRONMENT[@]}" "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
    remember_process "$name" $!
}

set_environment() {
    ENVIRONMENT=(
        PATH="$PATH"
        HOME="${HOME:-/}"
        STEPUP_SIM_HTTP_ADDR="127.0.0.1:$SIM_PORT"
        STEPUP_SIM_SMTP_ADDR="127.0.0.1:$SMTP_PORT"
        STEPUP_SIM_SMS_SECRET_FILE="$STATE/sms-secret"
        STEPUP_SIM_LEDGER_FILE="$STATE/sim-ledger"
        STEPUP_AMQP_URL="$STEPUP_AMQP_URL"
        STEPUP_DATABASE_URL="$STEPUP_DATABASE_URL"
        STEPUP_PREFIX=stepup
        STEPUP_HTTP_ADDR="127.0.0.1:$HTTP_PORT"
        STEPUP_METRICS_ADDR="127.0.0.1:$METRICS_PORT"
        STEPUP_KEYS_FILE="$STATE/keys"
        STEPUP_APPS_FILE="$STATE/apps.json"
        STEPUP_SMS_URL="http://127.0.0.1:$SIM_PORT/carrier/messages"
        STEPUP_SMS_SECRET_FILE="$STATE/sms-secret"
        STEPUP_SMTP_URL="smtp://127.0.0.1:$SMTP_PORT?tls=none"
        STEPUP_MAIL_FROM=security@fieldservice.example
        STEPUP_FALLBACK_SECONDS=4
        STEPUP_TRANSACTION_SECONDS=1
        "STEPUP_RESEND_SECONDS=4,4,8,20"
        STEPUP_LOG=info
    )
}

# The status of GET /readyz must be 200.
is_ready() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 5 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" >&3
        read -r _ status _ <&3 && [[ $status == 200 ]]' bash "$METRICS_PORT" 2>/dev/null
}

listens() { # PORT
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

await() { # NAME COMMAND…
    wait_until "$@" && return
    say "$1 did not start; the end of $STATE/$1.log:"
    tail -n 20 "$STATE/$1.log" >&2
    exit 1
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
    cargo build --workspace --bin stepup
    wait "$servers" || fail 'the servers could not be started; what is wrong stands above.'
    trap - EXIT
    environment=$(scripts/services.sh env)
    eval "$environment"

    write_files
    stop
    choose_ports "$STATE/ports" 4
    read -r HTTP_PORT METRICS_PORT SIM_PORT SMTP_PORT <"$STATE/ports"
    set_environment
    say "starting the simulated carrier and mail server on 127.0.0.1:$SIM_PORT"
    launch sim "$BINARY" sim
    await sim listens "$SIM_PORT"
    say "starting stepup on http://127.0.0.1:$HTTP_PORT (log: $STATE/stepup.log)"
    env -i "${ENVIRONMENT[@]}" "$BINARY" migrate
    launch stepup "$BINARY" all
    await stepup is_ready
    say 'ready. To keep this short, the email follows after 4 s here instead of 60 s.'

    local code=0
    STEPUP_DEMO_URL="http://127.0.0.1:$HTTP_PORT" \
        STEPUP_DEMO_API_KEY_FILE="$STATE/api-key" \
        STEPUP_DEMO_SIM_URL="http://127.0.0.1:$SIM_PORT" \
        STEPUP_DEMO_METRICS_URL="http://127.0.0.1:$METRICS_PORT" \
        "$BINARY" demo || code=$?
    say "left running: http://127.0.0.1:$HTTP_PORT; \`make down\` stops and removes everything"
    return "$code"
}

case ${1:-} in
run) run ;;
stop) stop ;;
*)
    sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
