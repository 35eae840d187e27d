#!/usr/bin/env bash
#
# A login over HTTP with curl: registers an account and a member, asks for a code, reads it from
# the simulated phone and proves it. Prints every answer. Exit code 0 only if verified.
#
# Needs curl, and from the environment:
#
#   STEPUP_URL      the ingress: http://127.0.0.1:8080
#   STEPUP_API_KEY  the API key of the app
#   STEPUP_SIM_URL  the simulator, `stepup-harness sim`
#
# While `make demo` runs, `eval "$(make env)"` sets them.

set -euo pipefail

: "${STEPUP_URL:?the ingress, http://127.0.0.1:8080}"
: "${STEPUP_API_KEY:?the API key of the app}"
: "${STEPUP_SIM_URL:?the simulator, stepup-harness sim}"

readonly SMS_SECONDS=30

# call STEP METHOD PATH BODY: prints the body of the answer, also that of a refusal. STEP makes the
# Idempotency-Key, so that a repeat of the same step would be harmless. The API key goes in by a
# file descriptor, since everybody on the machine can read a command line.
call() {
    curl -sS --max-time 20 -X "$2" "$STEPUP_URL$3" \
        -H @<(printf 'Authorization: Bearer %s\n' "$STEPUP_API_KEY") \
        -H 'Content-Type: application/json' -H "Idempotency-Key: example-$RUN-$1" \
        -d "$4"
}

# field NAME JSON: a text without quotation marks in it; nothing if it is not there.
field() {
    local pattern="\"$1\":\"([^\"]*)\""
    [[ $2 =~ $pattern ]] || return 0
    printf '%s' "${BASH_REMATCH[1]}"
}

# expect OUTCOME ANSWER: shows the answer, and ends the run if it says something else.
expect() {
    printf '%s\n' "$2"
    [[ $(field outcome "$2") == "$1" ]] || { echo "expected $1" >&2; exit 1; }
}

RUN=$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
NUMBER=+1202$((2000000 + (RANDOM << 15 | RANDOM) % 8000000))
ACCOUNT=example-$RUN

answer=$(call account PUT "/v1/accounts/$ACCOUNT" \
    '{"version":1,"name":"Example Plumbing","country":"US"}')
expect stored "$answer"

answer=$(call member PUT "/v1/accounts/$ACCOUNT/members/ada" \
    "{\"version\":1,\"phone\":\"$NUMBER\",\"two_factor\":true}")
expect stored "$answer"

answer=$(call issue POST /v1/logins \
    "{\"account\":\"$ACCOUNT\",\"member\":\"ada\",\"login\":\"session-$RUN\"}")
expect open "$answer"
challenge=$(field challenge "$answer")

sms=$(curl -sS --fail --max-time $((SMS_SECONDS + 5)) \
    "$STEPUP_SIM_URL/phones/%2B${NUMBER#+}/next?wait=$SMS_SECONDS")
text=$(field text "$sms")
[[ $text =~ [0-9]{6,8} ]] || { echo "no code within $SMS_SECONDS s" >&2; exit 1; }
guess=${BASH_REMATCH[0]}

answer=$(call verify POST "/v1/challenges/$challenge/verify" \
    "{\"account\":\"$ACCOUNT\",\"guess\":\"$guess\"}")
expect verified "$answer"
