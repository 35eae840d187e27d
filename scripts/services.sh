#!/usr/bin/env bash
#
# Finds or starts the two servers that stepup needs, RabbitMQ and PostgreSQL.
#
#   scripts/services.sh up [--private]     servers that answer, started if need be; may be repeated
#   scripts/services.sh env                where they are, as `export NAME=value` lines
#   scripts/services.sh status             what runs; exit code 0 if both servers do, else 3
#   scripts/services.sh down               stops what `up` started and removes its data
#   scripts/services.sh compose-secrets    writes the passwords and URLs that docker-compose.yml
#                                          reads into STEPUP_SECRETS_DIR (default: secrets)
#
# For the fault tests; data and ports stay the same:
#
#   scripts/services.sh rabbitmq-kill | rabbitmq-stop | rabbitmq-start
#   scripts/services.sh postgres-kill | postgres-stop | postgres-start
#   scripts/services.sh rabbitmqctl ARG…   Debian's rabbitmqctl, speaking to the private broker
#
# `up` takes the first of these that it finds:
#
#   1. STEPUP_AMQP_URL and STEPUP_DATABASE_URL, both set: those servers are used as they are;
#   2. private servers that an earlier `up` started;
#   3. a Docker engine that answers and is recent enough: the two servers of docker-compose.yml;
#   4. Debian's packages, installed if they are missing: private servers on free loopback ports.
#
# With --private, 1 and 3 are passed over; containers that an earlier `up` started go on until `down`.
# A server that was not started here is never touched.
#
# STEPUP_SERVICES_DIR   where everything about the servers is kept (default: .services in the
#                       repository). Each folder is an instance of its own; any number may run.
# STEPUP_RABBITMQ_BIN   folder of `rabbitmq-server`, to run another release than Debian's
# STEPUP_POSTGRES_BIN   folder of `initdb` and `postgres`, likewise

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
DIR=$(realpath -m "${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}")
INSTANCE=$(printf %s "$DIR" | cksum | cut -d' ' -f1)
ENV_FILE=$DIR/env

RABBITMQ_BIN=${STEPUP_RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}
SPEAKER=services
# shellcheck source=scripts/processes.sh
source "$REPOSITORY/scripts/processes.sh"
# shellcheck source=scripts/services/rabbitmq.sh
source "$REPOSITORY/scripts/services/rabbitmq.sh"
# shellcheck source=scripts/services/postgres.sh
source "$REPOSITORY/scripts/services/postgres.sh"
# shellcheck source=scripts/services/packages.sh
source "$REPOSITORY/scripts/services/packages.sh"
# shellcheck source=scripts/services/compose.sh
source "$REPOSITORY/scripts/services/compose.sh"

usage() {
    sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

# ---------------------------------------------------------------- folders and secrets

# The servers' files normally lie in DIR. They lie below /var/tmp where DIR would not do: the
# start script of RabbitMQ does not survive a space in a path, and a PostgreSQL that root starts
# runs as user `postgres`, who cannot enter root's home.
choose_state_folder() {
    if [[ -s $DIR/state-folder ]]; then
        STATE=$(<"$DIR/state-folder")
        [[ -d $STATE ]] && return
    fi
    if [[ $DIR =~ ^[A-Za-z0-9/._+-]+$ ]] && database_user_can_enter "$DIR"; then
        STATE=$DIR
    else
        local roomy=/var/tmp
        [[ -w $roomy ]] || roomy=/tmp
        STATE=$roomy/stepup-services-$EUID-$INSTANCE
        mkdir -m 711 "$STATE" 2>/dev/null || true
        [[ -d $STATE && ! -L $STATE && -O $STATE ]] ||
            fail "$STATE belongs to somebody else." "Mend it with: export STEPUP_SERVICES_DIR=FOLDER"
    fi
    printf '%s\n' "$STATE" >"$DIR/state-folder"
}

open_folder() {
    mkdir -p "$DIR" 2>/dev/null || true
    [[ -d $DIR && -w $DIR && -O $DIR ]] ||
        fail "$DIR cannot be written or belongs to another user." \
            "Mend it with: sudo chown -R $(id -un) '$DIR'   or: export STEPUP_SERVICES_DIR=FOLDER"
    chmod 711 "$DIR"
}

# One command at a time per folder. Servers are started with this descriptor closed.
lock_folder() {
    exec 9>"$DIR/lock"
    flock -w 300 9 || fail "another services.sh has been working on $DIR for 5 minutes."
}

load_passwords() { # FOLDER
    if [[ ! -s $1/passwords ]]; then
        (
            umask 077
            printf '%s=%s\n' \
                STEPUP_PASSWORD "$(random_hex 16)" DEMO_PASSWORD "$(random_hex 16)" \
                OTHER_PASSWORD "$(random_hex 16)" DATABASE_PASSWORD "$(random_hex 16)" \
                >"$1/passwords.new"
            mv "$1/passwords.new" "$1/passwords"
        )
    fi
    # shellcheck source=/dev/null
    source "$1/passwords"
}

write_env() { # AMQP_PORT DATABASE_PORT
    local amqp="127.0.0.1:$1/%2f"
    (
        umask 077
        cat >"$ENV_FILE.new" <<SH
export STEPUP_AMQP_URL='amqp://stepup:$STEPUP_PASSWORD@$amqp'
export STEPUP_DATABASE_URL='postgres://stepup:$DATABASE_PASSWORD@127.0.0.1:$2/stepup'
export STEPUP_DEMO_AMQP_URL='amqp://demo:$DEMO_PASSWORD@$amqp'
export STEPUP_OTHER_AMQP_URL='amqp://other:$OTHER_PASSWORD@$amqp'
SH
        mv "$ENV_FILE.new" "$ENV_FILE"
    )
}

# ---------------------------------------------------------------- the ways to have servers

mode() {
    cat "$DIR/mode" 2>/dev/null || echo none
}

given_from_outside() {
    [[ -n ${STEPUP_AMQP_URL:-} || -n ${STEPUP_DATABASE_URL:-} ]] || return 1
    # A shell that has read our own env file does not point elsewhere, also after `down`.
    local -a ours=("$DIR/env.ended")
    [[ $(mode) == outside ]] || ours+=("$ENV_FILE")
    if grep -qshF "STEPUP_AMQP_URL='${STEPUP_AMQP_URL:-}'" "${ours[@]}" &&
        grep -qshF "STEPUP_DATABASE_URL='${STEPUP_DATABASE_URL:-}'" "${ours[@]}"; then
        return 1
    fi
    [[ -n ${STEPUP_AMQP_URL:-} && -n ${STEPUP_DATABASE_URL:-} ]] ||
        fail "only one of STEPUP_AMQP_URL and STEPUP_DATABASE_URL is set." \
            "Mend it by setting both, or with: unset STEPUP_AMQP_URL STEPUP_DATABASE_URL"
}

# Whether something listens where the URL points to.
listens() { # URL DEFAULT_PORT
    local authority=${1#*://}
    authority=${authority%%[/?]*}
    authority=${authority##*@}
    local host=${authority%:*} port=$2
    [[ $authority != *:* ]] || port=${authority##*:}
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$host" "$port" 2>/dev/null
}

up_outside() {
    local name
    listens "$STEPUP_AMQP_URL" 5672 || fail "no broker answers at STEPUP_AMQP_URL." \
        "Mend it by starting it, or with: unset STEPUP_AMQP_URL STEPUP_DATABASE_URL"
    listens "$STEPUP_DATABASE_URL" 5432 || fail "no server answers at STEPUP_DATABASE_URL." \
        "Mend it by starting it, or with: unset STEPUP_AMQP_URL STEPUP_DATABASE_URL"
    (
        umask 077
        for name in STEPUP_AMQP_URL STEPUP_DATABASE_URL STEPUP_DEMO_AMQP_URL STEPUP_OTHER_AMQP_URL; do
            [[ -z ${!name:-} ]] || printf "export %s='%s'\n" "$name" "${!name//\'/%27}"
        done >"$ENV_FILE.new"
        mv "$ENV_FILE.new" "$ENV_FILE"
    )
    echo outside >"$DIR/mode"
    say "using the servers of STEPUP_AMQP_URL and STEPUP_DATABASE_URL; nothing started"
}

up_private() {
    local broker database failed=0
    require_programs
    install_packages
    choose_state_folder
    load_passwords "$STATE"
    POSTGRES_BIN=$(postgres_bin)
    echo private >"$DIR/mode"
    start_rabbitmq &
    broker=$!
    start_postgres &
    database=$!
    wait "$broker" || failed=1
    wait "$database" || failed=1
    ((failed == 0)) || fail "the servers could not be started; their logs are in $STATE"
    rabbitmq_ports
    postgres_port
    write_env "$AMQP_PORT" "$DATABASE_PORT"
    say "RabbitMQ 127.0.0.1:$AMQP_PORT and PostgreSQL 127.0.0.1:$DATABASE_PORT, files in $STATE"
}

up() {
    local only_private=${1:-}
    [[ -z $only_private || $only_private == --private ]] || fail "up knows only --private."
    open_folder
    lock_folder
    if [[ -z $only_private ]] && given_from_outside; then
        up_outside
    elif [[ -n $only_private || -s $DIR/state-folder && $(mode) == private ]]; then
        up_private
    elif docker_answers; then
        up_docker
    else
        up_private
    fi
}

# ---------------------------------------------------------------- what else can be asked

# Prepares a command about servers that `up` has started.
attach() {
    [[ -s $DIR/mode ]] || fail "nothing has been started in $DIR." "Mend it with: scripts/services.sh up"
    lock_folder
    case $(mode) in
    private)
        choose_state_folder
        load_passwords "$STATE"
        POSTGRES_BIN=$(postgres_bin) || fail "PostgreSQL's programs are gone."
        ;;
    docker) choose_folder_of_docker ;;
    *) fail "the servers given by STEPUP_AMQP_URL and STEPUP_DATABASE_URL are not touched." ;;
    esac
}

show_env() {
    [[ -s $ENV_FILE ]] || fail "nothing has been started in $DIR." "Mend it with: scripts/services.sh up"
    cat "$ENV_FILE"
}

status_private() {
    local name code=0
    for name in rabbitmq postgres; do
        if alive "$name"; then
            printf '%-10s runs, process %s, 127.0.0.1:%s\n' "$name" "$(process_id "$name")" \
                "$(cut -d' ' -f1 "$STATE/$name.ports")"
        else
            printf '%-10s stopped\n' "$name"
            code=3
        fi
    done
    printf 'files in %s\n' "$STATE"
    return "$code"
}

status() {
    case $(mode) in
    private)
        choose_state_folder
        status_private
        ;;
    docker)
        choose_folder_of_docker
        compose ps
        ;;
    outside) echo "the servers of STEPUP_AMQP_URL and STEPUP_DATABASE_URL are used; nothing was started" ;;
    *)
        echo "nothing has been started in $DIR"
        return 3
        ;;
    esac
}

rabbitmq() { # kill | stop | start
    attach
    if [[ $(mode) == docker ]]; then
        compose "$1" rabbitmq >&2
        [[ $1 != start ]] || compose up --detach --wait rabbitmq >&2
        return
    fi
    case $1 in
    kill) stop_rabbitmq KILL ;;
    stop) stop_rabbitmq TERM ;;
    start)
        start_rabbitmq || fail "RabbitMQ could not be started."
        postgres_port
        write_env "$AMQP_PORT" "$DATABASE_PORT"
        ;;
    esac
}

postgres() { # kill | stop | start
    attach
    if [[ $(mode) == docker ]]; then
        compose "$1" postgres >&2
        [[ $1 != start ]] || compose up --detach --wait postgres >&2
        return
    fi
    case $1 in
    kill) end_process postgres KILL ;;
    stop) end_process postgres INT ;;
    start)
        start_postgres || fail "PostgreSQL could not be started."
        rabbitmq_ports
        write_env "$AMQP_PORT" "$DATABASE_PORT"
        ;;
    esac
}

rabbitmqctl() {
    attach
    exec 9>&-
    if [[ $(mode) == docker ]]; then
        compose exec -T rabbitmq rabbitmqctl "$@"
        return
    fi
    rabbitmq_ports
    with_rabbitmq_settings "$RABBITMQ_BIN/rabbitmqctl" "$@"
}

down_private() {
    choose_state_folder
    stop_rabbitmq KILL &
    end_process postgres INT
    wait
    wait_for_old_sessions
    rm -rf "${STATE:?}"/{rabbitmq,postgres} \
        "$STATE"/{rabbitmq,postgres,epmd}.{ports,process,log} "$STATE/passwords"
    [[ $STATE == "$DIR" ]] || rm -rf "$STATE"
}

down_docker() {
    choose_folder_of_docker
    compose down --volumes >&2
    rm -rf "$STATE"/{docker-secrets,docker.ports}
}

down() {
    if [[ ! -d $DIR ]]; then
        say "nothing to stop"
        return
    fi
    lock_folder
    # Both may be there: `up` has used Docker, and `up --private` has followed.
    [[ ! -s $DIR/state-folder ]] || down_private
    [[ ! -s $DIR/docker.ports ]] || down_docker
    # A shell may have read it, and still has the URLs of these servers.
    [[ ! -s $ENV_FILE || $(mode) == outside ]] || (umask 077 && cat "$ENV_FILE" >>"$DIR/env.ended")
    rm -f "$DIR"/{env,mode,state-folder,install.log}
    say "stopped, and the data removed"
}

case ${1:-} in
up) up "${@:2}" ;;
env) show_env ;;
status) status ;;
down) down ;;
rabbitmq-kill | rabbitmq-stop | rabbitmq-start) rabbitmq "${1#*-}" ;;
postgres-kill | postgres-stop | postgres-start) postgres "${1#*-}" ;;
rabbitmqctl) rabbitmqctl "${@:2}" ;;
compose-secrets) compose_secrets ;;
help | --help | -h) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
