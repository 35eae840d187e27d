#!/usr/bin/env bash
#
# Measures whether cost stays flat as a site grows, on servers of its own: logins on an empty
# database and on one with a million members and a million open challenges; a backlog of a million
# commands; and several processes of the same roles beside each other. Prints what must be reached,
# each with met or not met. docs/performance.md says what came of it.
#
#   scripts/scale.sh            the whole of it, about half an hour; the exit code tells whether
#                               anything was lost
#   scripts/scale.sh STEP…      one after the other: up empty backlog drain members
#                               challenges full processes summary down
#
# SCALE_ROWS           members and open challenges (default: 1000000)
# SCALE_BACKLOG        commands in the backlog, each a member (default: as many)
# SCALE_DRAIN_SECONDS  how long the backlog is watched (default: until it is done); what is left then
#                      is thrown away, and the members it would have put are made by SQL
# SCALE_RATE           logins a second where latency is measured (default: 50)
# SCALE_SECONDS        how long a run of logins is measured (default: 30)
# BENCH_BINARY         the program (default: target/release/stepup, built first); BENCH_HARNESS is the load
#                      generator and the simulator (default: BENCH_BINARY with `-harness` behind it)

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$REPOSITORY"
export STEPUP_SERVICES_DIR=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/scale
STATE=$STEPUP_SERVICES_DIR/processes
TARGET=${CARGO_TARGET_DIR:-$REPOSITORY/target}
BINARY=${BENCH_BINARY:-$TARGET/release/stepup}
HARNESS=${BENCH_HARNESS:-$BINARY-harness}
ROWS=${SCALE_ROWS:-1000000}
BACKLOG=${SCALE_BACKLOG:-$ROWS}
DRAIN_SECONDS=${SCALE_DRAIN_SECONDS:-86400}
RATE=${SCALE_RATE:-50}
SECONDS_MAX=${SCALE_SECONDS:-30}
FALLBACK_SECONDS=60 TRANSACTION_SECONDS=5
COUNTS=(1 2 4 8)
PROCESSES_MAX=9
SPEAKER=scale
# shellcheck source=scripts/measure.sh
source scripts/measure.sh

STEPS=(up empty backlog drain members challenges full processes summary down)
# Between two looks at a worker that drains.
SAMPLE_SECONDS=1

database() { # SQL
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$STEPUP_DATABASE_URL" -c "$1"
}

place_of() { # ROLE; its place among ROLES
    local at
    for at in "${!ROLES[@]}"; do
        [[ ${ROLES[$at]} != "$1" ]] || printf '%s' "$at"
    done
}

port_of() { # ROLE
    printf '%s' "${METRICS_PORTS[$(place_of "$1")]}"
}

logins() { # NAME ARGS…
    load --bare-seconds 0 --fallback-share 0 --seconds "$SECONDS_MAX" --warm-up-seconds 5 \
        --json "$STATE/$1.json" "${@:2}"
}

# Those who log in once the directory is full: anybody whom the backlog has put.
anybody() {
    printf -- '--members\n%s\n--from-account\n%s\n' "$(<"$STATE/put")" "$(<"$STATE/from-account")"
}

empty() {
    say "$RATE logins/s on an empty database"
    logins empty --rate "$RATE"
}

backlog() {
    database "SELECT count(*) FROM account WHERE starts_with(account, 'load-')" \
        >"$STATE/from-account"
    end_process directory TERM
    say "$BACKLOG commands for a worker that does not run"
    load --fill "$BACKLOG"
}

# Starts the worker, and notes each second what it has handled and the memory it needs, and audit's,
# which takes what it causes.
drain() {
    local port audit began now=0 handled=0 accounts=$(((BACKLOG + 999) / 1000)) all
    all=$((BACKLOG + accounts))
    port=$(port_of directory) audit=$(port_of audit)
    launch_role "$(place_of directory)"
    await directory is_ready "$port"
    began=${EPOCHREALTIME/[.,]/}
    : >"$STATE/drain"
    while ((handled < all && now < 1000000 * DRAIN_SECONDS)); do
        sleep "$SAMPLE_SECONDS"
        now=$((${EPOCHREALTIME/[.,]/} - began))
        handled=$(metric "$port" stepup_batch_messages_total)
        printf '%s %s %s %s\n' "$now" "$handled" \
            "$(metric "$port" process_resident_memory_bytes)" \
            "$(metric "$audit" process_resident_memory_bytes)" >>"$STATE/drain"
    done
    awk '{ printf "%6.1f s %9d handled %7.1f MiB, audit %7.1f MiB\n",
        $1 / 1e6, $2, $3 / 1048576, $4 / 1048576 }' "$STATE/drain" | awk 'NR % 10 == 1'
    ((handled >= all)) || throw_away
    # Requests are published side by side: the last ones of those put need not be without a gap.
    handled=$((handled >= all ? BACKLOG : handled - accounts - 1000))
    echo "$handled" >"$STATE/put"
    settled
}

throw_away() {
    end_process directory TERM
    scripts/services.sh rabbitmqctl --quiet purge_queue bench.directory.settings >/dev/null
    launch_role "$(place_of directory)"
    await directory is_ready "$(port_of directory)"
}

# Waits until what was caused is in the trail and in the chain, too.
settled() {
    local before=-1 audit now
    audit=$(port_of audit)
    while :; do
        now=$(metric "$audit" stepup_batch_messages_total)
        [[ $now != "$before" || $(database 'SELECT count(*) FROM activity_unchained') != 0 ]] ||
            return 0
        before=$now
        sleep 2
    done
}

# Fills the directory up, with contacts that nobody can read: these do not log in.
members() {
    local missing
    missing=$((ROWS - $(database 'SELECT count(*) FROM member')))
    ((missing > 0)) || return 0
    say "$missing members by SQL"
    database "INSERT INTO account (account, app, version, name, country, countries,
            email_fallback, changed_at)
        SELECT 'scale-' || n, 'demo', 1, 'Scale', 'DE', '{DE}', 'automatic', now()
        FROM generate_series(0, ($missing - 1) / 1000) n"
    database "INSERT INTO member (account, member, version, active, role, locale, phone,
            phone_index, phone_prefix_index, phone_country, phone_textable, email, email_index,
            email_verified, two_factor, email_backup, notify_number_changes, changed_at)
        SELECT 'scale-' || n / 1000, 'm-' || n, 1, true, 'member', 'en', sha512(index), index,
            sha256(index), 'DE', true, sha512(index), sha256(sha256(index)), true, true, true,
            false, now()
        FROM (SELECT n, sha256(n::text::bytea) AS index
              FROM generate_series(0, $missing - 1) n) numbered"
}

# By SQL, since the product would need as many SMS: rows as it writes them, which become due in a
# day only, with the sends so long ago that they limit nobody.
challenges() {
    say "$ROWS open challenges"
    database "INSERT INTO challenge (id, account, member, login, purpose, state, created_at,
            expires_at, code_digits, code_kid, code_mac, code_sealed, phone_index, email_index,
            email_fallback, sends, resend_at, fallback_at)
        SELECT gen_random_uuid(), account, member, 'pending', 'login', 'open', at,
            at + interval '10 minutes', 6, 'scale', sha256(phone_index), sha512(phone_index),
            phone_index, email_index, 'automatic', 1, at, at + interval '1 minute'
        FROM (SELECT *, now() + (1 + random()) * interval '1 day' AS at FROM member
              WHERE phone_index IS NOT NULL LIMIT $ROWS) m"
    database "INSERT INTO login (account, member, purpose, login, challenge)
        SELECT account, member, purpose, login, id FROM challenge WHERE code_kid = 'scale'"
    database "INSERT INTO delivery_attempt (challenge, channel, send, state, tries,
            destination_index, granted_at, settled_at)
        SELECT id, 'sms', 1, 'accepted', 1, phone_index, now() - interval '3 days',
            now() - interval '3 days' FROM challenge WHERE code_kid = 'scale'"
    database "INSERT INTO destination (destination_index, used_at)
        SELECT phone_index, now() FROM challenge WHERE code_kid = 'scale' ON CONFLICT DO NOTHING"
    # What follows is about a full database, not about one that has just been filled.
    say 'vacuum and checkpoint'
    database 'VACUUM (ANALYZE)'
    database 'CHECKPOINT'
}

full() {
    local -a who
    mapfile -t who < <(anybody)
    say "$RATE logins/s on a full database: $(database "SELECT (SELECT count(*) FROM member)
        || ' members, ' || (SELECT count(*) FROM challenge WHERE state = 'open')
        || ' open challenges, ' || pg_size_pretty(pg_database_size(current_database()))")"
    logins full --rate "$RATE" "${who[@]}"
}

# The same load on one process of the workers and on several; timers and the simulator stay one.
processes() {
    local count at
    local -a usual=("${ROLES[@]}") who=()
    [[ ! -s $STATE/put ]] || mapfile -t who < <(anybody)
    stop_roles
    for count in "${COUNTS[@]}"; do
        ROLES=(timers)
        for ((at = 1; at <= count; at++)); do
            ROLES+=("worker-$at")
        done
        launch_roles
        say "$count of the same, flat out"
        logins "processes-$count" --in-flight 512 "${who[@]}"
        for ((at = 1; at <= count; at++)); do
            metric "${METRICS_PORTS[$at]}" stepup_batch_messages_total
        done >"$STATE/processes-$count.shares"
        say "messages taken by each: $(paste -sd' ' "$STATE/processes-$count.shares")"
        stop_roles
    done
    ROLES=("${usual[@]}")
}

# ---------------------------------------------------------------- what came of it

# CPU milliseconds a login, of everything but the command that drives.
cpu() { # FILE
    awk '$1 == "\"logins\":" { logins = $2 + 0 }
        $1 == "\"cpu_seconds\":" { inside = 1; next }
        inside && /}/ { inside = 0 }
        inside && $1 != "\"load\":" { cpu += $2 }
        END { printf "%.2f", 1000 * cpu / logins }' "$1"
}

ratio_row() { # WHAT BEFORE AFTER MOST UNIT
    local ratio
    ratio=$(calculate "$3 / $2")
    row "$1" "at most $4 x of empty" "$2 -> $3 $5: $ratio x" "$ratio <= $4"
}

flatness() {
    local empty=$STATE/empty.json full=$STATE/full.json name share role
    for name in request_to_sms verify; do
        for share in p50 p99; do
            ratio_row "$name $share" "$(figure "$empty" "${name}_ms" "$share")" \
                "$(figure "$full" "${name}_ms" "$share")" 1.5 ms
        done
    done
    ratio_row 'CPU a login' "$(cpu "$empty")" "$(cpu "$full")" 1.5 ms
    for role in code-generation verification sms-delivery audit timers; do
        ratio_row "most memory of $role" "$(figure "$empty" rss_max_mib "$role")" \
            "$(figure "$full" rss_max_mib "$role")" 1.5 MiB
    done
}

# The backlog in tenths of its time.
draining() {
    awk '{ at[NR] = $1 / 1e6; handled[NR] = $2; memory[NR] = $3 / 1048576
           if (memory[NR] > most) most = memory[NR] }
        END {
            for (tenth = 0; tenth < 10; tenth++) {
                from = int(NR * tenth / 10); to = int(NR * (tenth + 1) / 10)
                rate = (handled[to] - handled[from]) / (at[to] - at[from])
                if (tenth == 0 || rate < least) least = rate
                printf "%s%.0f", tenth ? " " : "rates ", rate
            }
            printf "\nall %.0f\nleast %.3f\nfirst %.1f\nmost %.1f\nlast %.1f\n",
                handled[NR] / at[NR], least * at[NR] / handled[NR], memory[int(NR / 10) + 1],
                most, memory[NR]
        }' "$STATE/drain" >"$STATE/draining"
    local all least first most last
    all=$(word all) least=$(word least) first=$(word first) most=$(word most) last=$(word last)
    row 'the backlog' 'no tenth < 80 % of the mean' "$all/s, least $least" "$least >= 0.8"
    row '' 'most memory <= 1.5 x the first' "$first, $most, $last MiB" "$most <= 1.5 * $first"
    echo "messages/s in each tenth: $(word rates)"
}

word() { # NAME
    sed -n "s/^$1 //p" "$STATE/draining"
}

beside() {
    local count one now least
    one=$(figure "$STATE/processes-1.json" logins_per_second)
    for count in "${COUNTS[@]:1}"; do
        now=$(figure "$STATE/processes-$count.json" logins_per_second)
        least=$(awk '{ sum += $1; if (NR == 1 || $1 < least) least = $1 }
            END { printf "%.2f", least * NR / sum }' "$STATE/processes-$count.shares")
        row "$count processes" '>= 80 % of one, share >= 0.5' \
            "$(calculate "100 * $now / $one") % ($now/s), $least" \
            "$now >= 0.8 * $one && $least >= 0.5"
    done
    echo "one process: $one logins/s"
}

summary() {
    local lost=0 file
    echo
    printf '%-38s %-30s %-24s\n' '' 'target' 'measured'
    [[ ! -s $STATE/full.json ]] || flatness
    [[ ! -s $STATE/drain ]] || draining
    [[ ! -s $STATE/processes-8.json ]] || beside
    for file in "$STATE"/*.json; do
        [[ $file != */apps.json ]] || continue
        lost=$((lost + $(figure "$file" lost) + $(figure "$file" doubled)))
    done
    row 'in all of it' 'nothing lost or doubled' "$lost" "$lost == 0"
    mkdir -p "$TARGET/scale"
    cp "$STATE"/*.json "$STATE"/drain "$STATE"/*.shares "$TARGET/scale/" 2>/dev/null || true
    echo "all figures: $TARGET/scale"
    ((lost == 0))
}

for step in "$@"; do
    [[ " ${STEPS[*]} " == *" $step "* ]] || {
        sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
        exit 2
    }
done
whole=0
(($# > 0)) || { whole=1; set -- "${STEPS[@]}"; }
for step in "$@"; do
    [[ ! -s $STATE/ports ]] || set_environment
    "$step"
    # Of the whole of it nothing stays.
    [[ $whole == 0 || $step != up ]] || trap down EXIT
done
