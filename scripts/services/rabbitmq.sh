# shellcheck shell=bash
# shellcheck disable=SC2154 # settings, passwords and ports come from services.sh
#
# Read by services.sh: the private RabbitMQ, its users, its start and its end.

# The prefixes under which the product runs at a broker that is only for trying and testing: its
# own, and those that the tests draw.
TEST_PREFIXES='(stepup|t[0-9a-f]{8})'

# The broker's users. An app may publish requests and hear events under a prefix that matches
# PREFIXES, and declare, bind and read queues of its own.
write_definitions() { # FILE PREFIXES
    cat >"$1" <<JSON
{
  "vhosts": [{"name": "/"}],
  "users": [
    {"name": "stepup", "password": "$STEPUP_PASSWORD", "tags": "administrator"},
    {"name": "demo", "password": "$DEMO_PASSWORD", "tags": ""},
    {"name": "other", "password": "$OTHER_PASSWORD", "tags": ""}
  ],
  "permissions": [
    {"user": "stepup", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "demo", "vhost": "/", "configure": "^demo\\\\..*",
     "write": "^($2\\\\.requests|demo\\\\..*)$", "read": "^($2\\\\.events|demo\\\\..*)$"},
    {"user": "other", "vhost": "/", "configure": "^other\\\\..*",
     "write": "^($2\\\\.requests|other\\\\..*)$", "read": "^($2\\\\.events|other\\\\..*)$"}
  ]
}
JSON
}

rabbitmq_ports() {
    read -r AMQP_PORT DISTRIBUTION_PORT EPMD_PORT 2>/dev/null <"$STATE/rabbitmq.ports"
}

configure_rabbitmq() {
    local home=$STATE/rabbitmq
    [[ -d $home ]] || mkdir -m 700 "$home"
    (
        umask 077
        write_definitions "$home/definitions.json" "$TEST_PREFIXES"
        # Erlang would make one itself, but not from the system's random source.
        [[ -s $home/.erlang.cookie ]] || random_hex 20 >"$home/.erlang.cookie"
        chmod 400 "$home/.erlang.cookie"
    )
    printf '[].\n' >"$home/advanced.config"
    printf '[].\n' >"$home/enabled_plugins"
    # A header travels in one frame: frame_max bounds how deep its tables can be nested. It bounds
    # what every client keeps for its buffers, too.
    cat >"$home/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$AMQP_PORT
heartbeat = 10
frame_max = 8192
raft.wal_max_size_bytes = 67108864
load_definitions = $home/definitions.json
log.file.level = info
CONF
}

# Runs a program of RabbitMQ with nothing but this instance's own settings in its environment.
with_rabbitmq_settings() {
    local home=$STATE/rabbitmq
    exec env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="$home" \
        ERL_EPMD_PORT="$EPMD_PORT" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME="stepup-$INSTANCE@localhost" RABBITMQ_NODE_PORT="$AMQP_PORT" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT="$DISTRIBUTION_PORT" \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/log" \
        RABBITMQ_PID_FILE="$home/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        "$@"
}

# Whether the broker lets user `stepup` in: the AMQP handshake up to the answer to the password.
rabbitmq_answers() {
    BROKER_PASSWORD=$STEPUP_PASSWORD perl -MIO::Socket::INET -e '
        my ($port, $user, $password) = (@ARGV, $ENV{BROKER_PASSWORD});
        alarm 5;
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) or exit 1;
        sub method {   # the class and method of the next frame
            read($s, my $head, 7) == 7 or exit 1;
            my (undef, undef, $size) = unpack "CnN", $head;
            read($s, my $frame, $size + 1) == $size + 1 or exit 1;
            return join ".", unpack "nn", $frame;
        }
        print $s "AMQP\0\0\x09\x01"; $s->flush;
        method() eq "10.10" or exit 1;
        my $answer = "\0$user\0$password";
        my $body = pack("nnN", 10, 11, 0) . pack("C/a", "PLAIN") . pack("N/a", $answer)
            . pack("C/a", "en_US");
        print $s pack("CnN", 1, 0, length $body), $body, "\xCE"; $s->flush;
        exit(method() eq "10.30" ? 0 : 1);' "$AMQP_PORT" stepup 2>/dev/null
}

launch_rabbitmq() {
    local home=$STATE/rabbitmq
    setsid env -i PATH="$PATH" epmd -port "$EPMD_PORT" -address 127.0.0.1 \
        >>"$home/epmd.log" 2>&1 </dev/null 9>&- &
    remember_process epmd $!
    # With these two words the start script becomes the server instead of watching over it, so
    # that the process id is the server's.
    (with_rabbitmq_settings RABBITMQ_ALLOW_INPUT=1 setsid "$RABBITMQ_BIN/rabbitmq-server" -noinput) \
        >>"$home/console.log" 2>&1 </dev/null 9>&- &
    remember_process rabbitmq $!
}

# Whether the running broker was started with the users that it would be given today.
definitions_are_current() {
    write_definitions /dev/stdout "$TEST_PREFIXES" | cmp -s - "$STATE/rabbitmq/definitions.json"
}

start_rabbitmq() {
    local attempt
    if alive rabbitmq && definitions_are_current && rabbitmq_ports &&
        wait_until rabbitmq rabbitmq_answers; then
        return 0
    fi
    end_process rabbitmq TERM
    for attempt in 1 2 3; do
        end_process epmd TERM
        choose_ports "$STATE/rabbitmq.ports" 3
        rabbitmq_ports
        configure_rabbitmq
        say "starting RabbitMQ on 127.0.0.1:$AMQP_PORT"
        launch_rabbitmq
        if wait_until rabbitmq rabbitmq_answers; then
            say "RabbitMQ answers on 127.0.0.1:$AMQP_PORT"
            return 0
        fi
        end_process rabbitmq KILL
        say "RabbitMQ did not start (try $attempt); the end of $STATE/rabbitmq/console.log:"
        tail -n 15 "$STATE/rabbitmq/console.log" >&2
    done
    return 1
}

stop_rabbitmq() { # SIGNAL
    end_process rabbitmq "$1"
    end_process epmd TERM
}
