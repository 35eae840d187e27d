# shellcheck shell=bash
#
# Read by the scripts that measure: servers of their own, stepup with a process for each role that a
# login is busy with, load, and figures. Settings, team, team-batch and support do not run. STATE, TARGET, BINARY, HARNESS, FALLBACK_SECONDS and TRANSACTION_SECONDS must be set;
# PROCESSES_MAX where more processes are launched than ROLES names.

# shellcheck source=scripts/processes.sh
source scripts/processes.sh

# A process each; the last four are hardly busy and share one.
ROLES=(ingress code-generation verification sms-delivery email-fallback audit directory timers)

role_arguments() { # ROLE
    case $1 in
    ingress) echo ingress ;;
    timers) echo work timers janitor notification notice-delivery ;;
    worker-*) echo work code-generation verification sms-delivery email-fallback audit directory ;;
    *) echo work "$1" ;;
    esac
}

set_environment() {
    local servers
    servers=$(env -u STEPUP_AMQP_URL -u STEPUP_DATABASE_URL scripts/services.sh env)
    eval "$servers"
    local -a port
    read -ra port <"$STATE/ports"
    HTTP_PORT=${port[0]} SIM_PORT=${port[1]} SMTP_PORT=${port[2]}
    METRICS_PORTS=("${port[@]:3}")
    set_common_environment
    ENVIRONMENT+=(
        STEPUP_PREFIX=bench
        STEPUP_FALLBACK_SECONDS="$FALLBACK_SECONDS"
        STEPUP_TRANSACTION_SECONDS="$TRANSACTION_SECONDS"
        STEPUP_LOG=warn
    )
}

launch_role() { # PLACE_AMONG_ROLES
    local role=${ROLES[$1]}
    # shellcheck disable=SC2046 # one word for each argument
    launch "$role" env STEPUP_METRICS_ADDR="127.0.0.1:${METRICS_PORTS[$1]}" \
        "$BINARY" $(role_arguments "$role")
}

launch_roles() {
    local at
    for at in "${!ROLES[@]}"; do
        launch_role "$at"
    done
    for at in "${!ROLES[@]}"; do
        await "${ROLES[$at]}" is_ready "${METRICS_PORTS[$at]}"
    done
}

build() {
    [[ -z ${BENCH_BINARY:-} ]] || return 0
    scripts/prerequisites.sh build
    cargo build --release --bin stepup --bin stepup-harness
}

up() {
    local servers
    say 'compiling with optimisations (the first time several minutes); meanwhile the servers start'
    scripts/services.sh up --private <&0 &
    servers=$!
    # Left to itself it would go on working after a failed build.
    trap 'wait' EXIT
    build
    wait "$servers" || fail 'the servers could not be started; what is wrong stands above.'
    trap - EXIT
    write_files
    stop_processes
    choose_ports "$STATE/ports" $((3 + ${PROCESSES_MAX:-${#ROLES[@]}}))
    set_environment
    launch sim "$HARNESS" sim
    await sim listens "$SIM_PORT"
    env -i "${ENVIRONMENT[@]}" "$BINARY" migrate >/dev/null
    launch_roles
    say "ready: ${ROLES[*]}"
}

stop_roles() {
    local role
    local -a ending=()
    for role in "${ROLES[@]}"; do
        end_process "$role" TERM &
        ending+=($!)
    done
    # Not for all: the simulator is a child of ours as well, and goes on.
    wait "${ending[@]}"
}

stop_processes() {
    stop_roles
    end_process sim TERM
}

down() {
    [[ -d $STEPUP_SERVICES_DIR ]] || return 0
    [[ ! -d $STATE ]] || stop_processes
    scripts/services.sh down
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
    env -i "${ENVIRONMENT[@]}" "$HARNESS" load --api-key-file "$STATE/api-key" \
        "${arguments[@]}" "$@"
}

# ---------------------------------------------------------------- figures

# A number of a file that `stepup-harness load --json` wrote: one entry a line.
figure() { # FILE KEY [KEY_WITHIN]
    awk -v outer="\"$2\":" -v inner="\"${3:-}\":" '
        $1 == outer { inside = 1; if (inner == "\"\":") { print $2 + 0; exit } next }
        inside && $1 == inner { print $2 + 0; exit }' "$1"
}

holds() { # CONDITION
    awk "BEGIN { exit !($1) }"
}

calculate() { # EXPRESSION
    awk "BEGIN { printf \"%.2f\", $1 }"
}

row() { # WHAT TARGET MEASURED CONDITION
    local verdict='not met'
    ! holds "$4" || verdict=met
    printf '%-38s %-30s %-24s %s\n' "$1" "$2" "$3" "$verdict"
}

metrics() { # PORT
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
    tr -d '\r' <&3
    exec 3>&-
}

metric() { # PORT NAME; several of one name, with other labels, are added up
    metrics "$1" | awk -v name="$2" '
        $1 == name || index($1, name "{") == 1 { sum += $2 }
        END { printf "%.15g\n", sum }'
}
