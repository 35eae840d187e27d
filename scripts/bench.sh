#!/usr/bin/env bash
#
# Measures the product as a site would run it, a process for each role, on servers of its own: flat
# out, at a tenth of that over AMQP and over HTTP, idle, and stopped under load. Prints what must be
# reached, each as a ratio to the bare paths of the same run, with met or not met; writes all figures
# into target/bench.json. docs/performance.md says what they mean.
#
#   scripts/bench.sh            the whole of it; the exit code tells whether anything was lost
#   scripts/bench.sh up         only starts the servers and the processes, for `stepup load` by hand
#   scripts/bench.sh load ARGS… `stepup load ARGS…` against what `up` has started
#   scripts/bench.sh down       stops and removes them
#
# BENCH_SECONDS        how long flat out is measured, the other parts half as long (default: 30);
#                      10 or less also leaves out what needs time, for a run of under a minute
# BENCH_FALLBACK_SECONDS  when the email follows (default: 15; the product's own is 60)
# BENCH_BINARY         the program (default: target/release/stepup, built first)

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$REPOSITORY"
export STEPUP_SERVICES_DIR=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/bench
STATE=$STEPUP_SERVICES_DIR/processes
TARGET=${CARGO_TARGET_DIR:-$REPOSITORY/target}
BINARY=${BENCH_BINARY:-$TARGET/release/stepup}
SECONDS_MAX=${BENCH_SECONDS:-30}
FALLBACK_SECONDS=${BENCH_FALLBACK_SECONDS:-15}
SPEAKER=bench
# shellcheck source=scripts/processes.sh
source scripts/processes.sh

# A process each; the last four are hardly busy and share one.
ROLES=(ingress code-generation verification sms-delivery email-fallback audit directory timers)

role_arguments() { # ROLE
    case $1 in
    ingress) echo ingress ;;
    timers) echo work timers janitor notification notice-delivery ;;
    *) echo work "$1" ;;
    esac
}

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

set_environment() {
    local servers
    servers=$(env -u STEPUP_AMQP_URL -u STEPUP_DATABASE_URL scripts/services.sh env)
    eval "$servers"
    local -a port
    read -ra port <"$STATE/ports"
    HTTP_PORT=${port[0]} SIM_PORT=${port[1]} SMTP_PORT=${port[2]}
    METRICS_PORTS=("${port[@]:3}")
    ENVIRONMENT=(
        PATH="$PATH"
        HOME="${HOME:-/}"
        STEPUP_SIM_HTTP_ADDR="127.0.0.1:$SIM_PORT"
        STEPUP_SIM_SMTP_ADDR="127.0.0.1:$SMTP_PORT"
        STEPUP_SIM_SMS_SECRET_FILE="$STATE/sms-secret"
        STEPUP_AMQP_URL="$STEPUP_AMQP_URL"
        STEPUP_DATABASE_URL="$STEPUP_DATABASE_URL"
        STEPUP_PREFIX=bench
        STEPUP_HTTP_ADDR="127.0.0.1:$HTTP_PORT"
        STEPUP_KEYS_FILE="$STATE/keys"
        STEPUP_APPS_FILE="$STATE/apps.json"
        STEPUP_SMS_URL="http://127.0.0.1:$SIM_PORT/carrier/messages"
        STEPUP_SMS_SECRET_FILE="$STATE/sms-secret"
        STEPUP_SMTP_URL="smtp://127.0.0.1:$SMTP_PORT?tls=none"
        STEPUP_MAIL_FROM=security@fieldservice.example
        STEPUP_FALLBACK_SECONDS="$FALLBACK_SECONDS"
        STEPUP_LOG=${BENCH_LOG:-warn}
    )
}

# Nothing else reaches the programs, whatever the calling shell has set.
launch() { # NAME COMMAND…
    local name=$1
    shift
    setsid env -i "${ENVIRONMENT[@]}" "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
    remember_process "$name" $!
}

listens() { # PORT
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The status of GET /readyz must be 200.
is_ready() { # PORT
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 5 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" >&3
        read -r _ status _ <&3 && [[ $status == 200 ]]' bash "$1" 2>/dev/null
}

await() { # NAME COMMAND…
    wait_until "$@" && return
    say "$1 did not start; the end of $STATE/$1.log:"
    tail -n 20 "$STATE/$1.log" >&2
    exit 1
}

launch_roles() {
    local at role
    for at in "${!ROLES[@]}"; do
        role=${ROLES[$at]}
        # shellcheck disable=SC2046 # one word for each argument
        launch "$role" env STEPUP_METRICS_ADDR="127.0.0.1:${METRICS_PORTS[$at]}" \
            "$BINARY" $(role_arguments "$role")
    done
    for at in "${!ROLES[@]}"; do
        await "${ROLES[$at]}" is_ready "${METRICS_PORTS[$at]}"
    done
}

build() {
    [[ -z ${BENCH_BINARY:-} ]] || return 0
    scripts/prerequisites.sh build
    cargo build --release --bin stepup
}

up() {
    local servers
    say 'compiling with optimisations (the first time several minutes); meanwhile the servers start'
    env -u STEPUP_AMQP_URL -u STEPUP_DATABASE_URL scripts/services.sh up <&0 &
    servers=$!
    # Left to itself it would go on working after a failed build.
    trap 'wait' EXIT
    build
    wait "$servers" || fail 'the servers could not be started; what is wrong stands above.'
    trap - EXIT
    write_files
    stop_processes
    choose_ports "$STATE/ports" $((3 + ${#ROLES[@]}))
    set_environment
    launch sim "$BINARY" sim
    await sim listens "$SIM_PORT"
    env -i "${ENVIRONMENT[@]}" "$BINARY" migrate >/dev/null
    launch_roles
    say "ready: ${ROLES[*]}"
}

stop_processes() {
    local role
    for role in "${ROLES[@]}" sim; do
        end_process "$role" TERM &
    done
    wait
}

down() {
    [[ -d $STEPUP_SERVICES_DIR ]] || return 0
    [[ ! -d $STATE ]] || stop_processes
    env -u STEPUP_AMQP_URL -u STEPUP_DATABASE_URL scripts/services.sh down
    rm -rf "$STATE"
}

# Servers that run here are looked at by process; elsewhere nothing is said of them.
server_arguments() {
    local name file
    for name in rabbitmq postgres; do
        file=$STEPUP_SERVICES_DIR/$name.process
        [[ ! -s $file ]] || printf -- '--process\n%s=%s\n' "$name" "$(cut -d' ' -f1 "$file")"
    done
    printf -- '--process\nsim=%s\n' "$(process_id sim)"
}

load() { # ARGS…
    local at
    local -a arguments
    mapfile -t arguments < <(server_arguments)
    for at in "${!ROLES[@]}"; do
        arguments+=(--metrics "${ROLES[$at]}=http://127.0.0.1:${METRICS_PORTS[$at]}/metrics")
    done
    env -i "${ENVIRONMENT[@]}" "$BINARY" load --api-key-file "$STATE/api-key" \
        "${arguments[@]}" "$@"
}

case ${1:-} in
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
