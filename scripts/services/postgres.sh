# shellcheck shell=bash
# shellcheck disable=SC2154 # settings, passwords and ports come from services.sh
#
# Read by services.sh: the private PostgreSQL, its start and its database.

SESSION_TIMEOUT_SECONDS=30

postgres_bin() {
    local folder
    if [[ -n ${STEPUP_POSTGRES_BIN:-} ]]; then
        printf '%s' "$STEPUP_POSTGRES_BIN"
        return
    fi
    folder=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null |
        sort -V | tail -n 1)
    [[ -n $folder && -x $folder/postgres && -x $folder/initdb ]] || return 1
    printf '%s' "$folder"
}

# PostgreSQL refuses to run as root.
as_database_user() {
    if ((EUID == 0)); then
        exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    fi
    exec "$@"
}

database_user_can_enter() { # FOLDER
    ((EUID != 0)) || (as_database_user test -x "$1")
}

postgres_port() {
    read -r DATABASE_PORT 2>/dev/null <"$STATE/postgres.ports"
}

create_database_cluster() {
    local home=$STATE/postgres
    [[ ! -e $home/created ]] || return 0
    rm -rf "$home"
    mkdir -m 700 "$home"
    (
        umask 077
        printf '%s\n' "$DATABASE_PASSWORD" >"$home/password"
    )
    ((EUID != 0)) || chown -R postgres:postgres "$home"
    # The first files need no sync: a machine that crashes now leaves no `created` behind.
    (cd / && as_database_user env -i PATH="$PATH" LC_ALL=C "$POSTGRES_BIN/initdb" \
        --pgdata="$home/data" --username=stepup --auth=scram-sha-256 --pwfile="$home/password" \
        --encoding=UTF8 --locale=C --no-sync --no-instructions) >>"$STATE/postgres.log" 2>&1 || {
        say "initdb failed; the end of $STATE/postgres.log:"
        tail -n 15 "$STATE/postgres.log" >&2
        return 1
    }
    rm "$home/password"
    # No Unix socket: its path may be too long, and everything here speaks TCP.
    cat >>"$home/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
fsync = on
log_line_prefix = '%m [%p] '
CONF
    touch "$home/created"
}

query() { # DATABASE SQL
    PGPASSWORD=$DATABASE_PASSWORD PGCONNECT_TIMEOUT=5 "$POSTGRES_BIN/psql" -X -q -A -t \
        -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$DATABASE_PORT" -U stepup -d "$1" -c "$2"
}

postgres_answers() {
    [[ $(query postgres 'SELECT 1' 2>/dev/null) == 1 ]]
}

create_database() {
    [[ $(query postgres "SELECT 1 FROM pg_database WHERE datname = 'stepup'") == 1 ]] ||
        query postgres 'CREATE DATABASE stepup'
}

# Sessions outlive a killed postmaster for a moment, and a new one is refused until they are gone.
wait_for_old_sessions() {
    local deadline=$((SECONDS + SESSION_TIMEOUT_SECONDS)) folder pid left
    while :; do
        left=''
        for folder in /proc/[0-9]*; do
            if [[ $folder/cwd -ef $STATE/postgres/data ]]; then
                pid=${folder#/proc/}
                left+=" $pid"
                ((SECONDS < deadline)) || kill -QUIT "$pid" 2>/dev/null || true
            fi
        done
        [[ -n $left ]] || break
        sleep 0.1
    done
    # Of a postmaster that its parent has not buried yet, PostgreSQL would think that it runs.
    rm -f "$STATE/postgres/data/postmaster.pid"
}

launch_postgres() {
    (cd / && as_database_user setsid env -i PATH="$PATH" LC_ALL=C "$POSTGRES_BIN/postgres" \
        -D "$STATE/postgres/data" -p "$DATABASE_PORT") \
        >>"$STATE/postgres.log" 2>&1 </dev/null 9>&- &
    remember_process postgres $!
}

start_postgres() {
    local attempt
    if alive postgres && postgres_port && wait_until postgres postgres_answers; then
        return 0
    fi
    end_process postgres INT
    for attempt in 1 2 3; do
        create_database_cluster || return 1
        wait_for_old_sessions
        choose_ports "$STATE/postgres.ports" 1
        postgres_port
        say "starting PostgreSQL on 127.0.0.1:$DATABASE_PORT"
        launch_postgres
        if wait_until postgres postgres_answers && create_database; then
            say "PostgreSQL answers on 127.0.0.1:$DATABASE_PORT"
            return 0
        fi
        end_process postgres INT
        say "PostgreSQL did not start (try $attempt); the end of $STATE/postgres.log:"
        tail -n 15 "$STATE/postgres.log" >&2
    done
    return 1
}
