# shellcheck shell=bash
# shellcheck disable=SC2154 # settings, passwords and ports come from services.sh
#
# Read by services.sh: the two servers of docker-compose.yml, and the secrets it reads.

# What docker-compose.yml needs: of the engine for `start_interval`, of Compose for a config's `content`.
ENGINE_OLDEST=25
COMPOSE_OLDEST=2.23.1

# Whether there is a Docker that docker-compose.yml can be used with. Says why not, unless there is none.
docker_answers() {
    local engine compose
    command -v docker >/dev/null || return 1
    if ! engine=$(timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null); then
        say 'Docker is passed over: no engine answers'
    elif ! at_least "$engine" "$ENGINE_OLDEST"; then
        say "Docker is passed over: its engine is $engine, and $ENGINE_OLDEST or later is needed"
    elif ! compose=$(timeout 10 docker compose version --short 2>/dev/null); then
        say 'Docker is passed over: its plugin Compose is not installed'
    elif ! at_least "$compose" "$COMPOSE_OLDEST"; then
        say "Docker is passed over: its Compose is $compose, and $COMPOSE_OLDEST or later is needed"
    else
        return 0
    fi
    return 1
}

# Whether a version, which may begin with `v` and end with anything, is another one or later.
at_least() { # VERSION OLDEST
    local version=${1#v}
    version=${version%%[!0-9.]*}
    [[ -n $version && $(printf '%s\n' "$2" "$version" | sort -V | head -n 1) == "$2" ]]
}

docker_ports() {
    read -r AMQP_PORT DATABASE_PORT 2>/dev/null <"$STATE/docker.ports"
}

compose() {
    docker_ports
    STEPUP_RABBITMQ_PORT=$AMQP_PORT STEPUP_POSTGRES_PORT=$DATABASE_PORT \
        STEPUP_SECRETS_DIR=$STATE/docker-secrets docker compose --project-name "stepup-$INSTANCE" \
        --file "$REPOSITORY/docker-compose.yml" "$@" </dev/null 9>&-
}

up_docker() {
    say "using the Docker engine: docker compose up rabbitmq postgres"
    choose_folder_of_docker
    [[ -s $STATE/docker.ports ]] || choose_ports "$STATE/docker.ports" 2
    echo docker >"$DIR/mode"
    compose up --detach --wait rabbitmq postgres >&2 ||
        fail "docker compose could not start the servers."
    write_env "$AMQP_PORT" "$DATABASE_PORT"
    say "RabbitMQ answers on 127.0.0.1:$AMQP_PORT, PostgreSQL on 127.0.0.1:$DATABASE_PORT (Docker)"
}

choose_folder_of_docker() {
    STATE=$DIR
    write_compose_secrets "$STATE/docker-secrets" "$TEST_PREFIXES"
}

# The files that docker-compose.yml hands to its containers. They must be readable for the users
# in there, so it is the folder that keeps everybody else out.
write_compose_secrets() { # FOLDER PREFIXES
    mkdir -p "$1"
    chmod 700 "$1"
    # Whatever the repository's own list of ignored files says.
    printf '*\n' >"$1/.gitignore"
    load_passwords "$1"
    write_definitions "$1/rabbitmq-definitions.json" "$2"
    printf '%s' "$DATABASE_PASSWORD" >"$1/postgres-password"
    printf 'amqp://stepup:%s@rabbitmq:5672/%%2f' "$STEPUP_PASSWORD" >"$1/amqp-url"
    printf 'postgres://stepup:%s@postgres:5432/stepup' "$DATABASE_PASSWORD" >"$1/database-url"
    [[ -s $1/sms-secret ]] ||
        printf 'whsec_%s' "$(head -c 32 /dev/urandom | base64 -w 0)" >"$1/sms-secret"
    [[ -s $1/smtp-url ]] || printf 'smtp://sim:8025?tls=none' >"$1/smtp-url"
    [[ -s $1/demo-api-key ]] || random_hex 32 >"$1/demo-api-key"
    [[ -s $1/apps.json ]] || printf '[{"app":"demo","broker_user":"demo","api_key_sha256":"%s"}]\n' \
        "$(sha256sum <"$1/demo-api-key" | cut -d' ' -f1)" >"$1/apps.json"
    chmod 644 "$1"/*
    chmod 600 "$1/passwords" "$1/demo-api-key"
}

compose_secrets() {
    local folder
    folder=$(realpath -m "${STEPUP_SECRETS_DIR:-$REPOSITORY/secrets}")
    write_compose_secrets "$folder" stepup
    say "written: $folder (keep a copy of it)"
    [[ -s $folder/keys ]] || cat >&2 <<TEXT
The keys that seal codes and contacts are still missing there. Make them once:

  docker compose build
  docker compose run --rm --no-deps --user "\$(id -u)" --volume '$folder:/out' migrate keys create /out/keys
  chmod 644 '$folder/keys'
  docker compose run --rm --no-deps janitor keys public >'$folder/public-key'
TEXT
}
