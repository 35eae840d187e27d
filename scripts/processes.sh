# shellcheck shell=bash
#
# Read by other scripts: processes that outlive the script that starts them, ports for them, and
# at the end stepup itself with its simulator, as the demo and the benchmark start them.
#
# STATE is the folder where each of them is remembered: NAME.process holds its process id and its
# start time, so that an id which the system has used again is never mistaken for it.

STOP_TIMEOUT_SECONDS=30
START_TIMEOUT_SECONDS=120
PROGRESS_SECONDS=5
# Linux hands out ports from 32768 on to outgoing connections: stay below.
LOWEST_PORT=20000
HIGHEST_PORT=31999

BEGAN_US=${EPOCHREALTIME/[.,]/}

# One line of progress with the seconds since the script began.
say() {
    local tenths=$(((${EPOCHREALTIME/[.,]/} - BEGAN_US) / 100000))
    printf '%-8s %3d.%d s  %s\n' "${SPEAKER:-stepup}" $((tenths / 10)) $((tenths % 10)) "$*" >&2
}

# Says what is wrong, and on a second line what mends it.
fail() {
    printf "${SPEAKER:-stepup}: %s\n" "$@" >&2
    exit 1
}

random_hex() { # BYTES
    od -An -tx1 -N"$1" /dev/urandom | tr -d ' \n'
}

start_time() { # PID; fails if there is no such process, or only its remains
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    local -a field
    read -ra field <<<"${stat##*) }"
    [[ ${field[0]} != [ZX] ]] || return 1
    printf '%s' "${field[19]}"
}

remember_process() { # NAME PID
    printf '%s %s\n' "$2" "$(start_time "$2" || echo 0)" >"$STATE/$1.process"
}

process_id() { # NAME; fails unless the very process that was remembered is alive
    local pid since
    read -r pid since 2>/dev/null <"$STATE/$1.process" || return 1
    [[ $(start_time "$pid") == "$since" ]] || return 1
    printf '%s' "$pid"
}

alive() { # NAME
    [[ -s $STATE/$1.process ]] && process_id "$1" >/dev/null
}

# Sends the signal and waits for the end of the process; if that takes too long, kills it.
end_process() { # NAME SIGNAL
    local pid deadline=$((SECONDS + STOP_TIMEOUT_SECONDS))
    alive "$1" || return 0
    pid=$(process_id "$1") || return 0
    kill "-$2" "$pid" 2>/dev/null || true
    while alive "$1"; do
        ((SECONDS < deadline)) || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.05
    done
}

# Waits until COMMAND succeeds. Fails when the process has ended or the time is over.
wait_until() { # NAME COMMAND…
    local name=$1 deadline=$((SECONDS + START_TIMEOUT_SECONDS)) word=$((SECONDS + PROGRESS_SECONDS))
    shift
    until "$@"; do
        alive "$name" || return 1
        if ((SECONDS >= deadline)); then
            say "$name did not answer within $START_TIMEOUT_SECONDS s"
            return 1
        fi
        if ((SECONDS >= word)); then
            say "still waiting for $name"
            word=$((SECONDS + PROGRESS_SECONDS))
        fi
        sleep 0.1
    done
}

# Prints COUNT free loopback ports: the remembered ones as long as they are free, else new ones.
free_ports() { # COUNT [REMEMBERED…]
    perl -MIO::Socket::INET -e '
        my ($lowest, $highest, $count, @remembered) = @ARGV;
        my @held;
        sub hold {
            my $socket = IO::Socket::INET->new(
                LocalAddr => "127.0.0.1", LocalPort => shift, Listen => 1, ReuseAddr => 1);
            push @held, $socket if $socket;
            return defined $socket;
        }
        for my $at (0 .. $count - 1) {
            my $port = $remembered[$at];
            my $tries = 0;
            until (defined $port && hold($port)) {
                die "no free port\n" if $tries++ > 1000;
                $port = $lowest + int rand($highest - $lowest + 1);
            }
            print "$port\n";
        }' "$LOWEST_PORT" "$HIGHEST_PORT" "$@"
}

# Writes COUNT free ports into FILE, on one line; the ones it holds already are kept where free.
choose_ports() { # FILE COUNT
    local -a remembered=()
    [[ ! -s $1 ]] || read -ra remembered <"$1"
    free_ports "$2" "${remembered[@]}" | paste -sd' ' >"$1.new"
    mv "$1.new" "$1"
}

# ---------------------------------------------------------------- stepup and the simulator
#
# BINARY is the program. ENVIRONMENT is all that it gets to see.

# Keys and secrets, made once; and the app that they belong to.
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

# What every start has in common. The servers and HTTP_PORT, SIM_PORT and SMTP_PORT must be known.
set_common_environment() {
    ENVIRONMENT=(
        PATH="$PATH"
        HOME="${HOME:-/}"
        STEPUP_SIM_HTTP_ADDR="127.0.0.1:$SIM_PORT"
        STEPUP_SIM_SMTP_ADDR="127.0.0.1:$SMTP_PORT"
        STEPUP_SIM_SMS_SECRET_FILE="$STATE/sms-secret"
        STEPUP_AMQP_URL="$STEPUP_AMQP_URL"
        STEPUP_DATABASE_URL="$STEPUP_DATABASE_URL"
        STEPUP_HTTP_ADDR="127.0.0.1:$HTTP_PORT"
        STEPUP_KEYS_FILE="$STATE/keys"
        STEPUP_APPS_FILE="$STATE/apps.json"
        STEPUP_SMS_URL="http://127.0.0.1:$SIM_PORT/carrier/messages"
        STEPUP_SMS_SECRET_FILE="$STATE/sms-secret"
        STEPUP_SMTP_URL="smtp://127.0.0.1:$SMTP_PORT?tls=none"
        STEPUP_MAIL_FROM=security@fieldservice.example
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
