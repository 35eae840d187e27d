#!/usr/bin/env bash
#
# An evening of a made-up company over HTTP, with bash and curl: a member turns 2FA on, an admin
# makes it mandatory for all, a bank account changes, a number changes, a phone is lost, and at the
# end stands what the Activity report says of it. Prints who does what, what the app is told and
# what the phones show. Exit code 0 only if everything went as it should. examples/evening.py does
# the same over AMQP.
#
# Needs bash and curl, and from the environment:
#
#   STEPUP_URL      the ingress: http://127.0.0.1:8080
#   STEPUP_API_KEY  the API key of the app
#   STEPUP_SIM_URL  the simulator, `stepup-harness sim`
#
# While `make demo` runs, `eval "$(make env)"` sets them.
#
# The lost phone is waited for: start stepup with STEPUP_RESET_HOLD_SECONDS=10, in the place of a day.

set -euo pipefail

: "${STEPUP_URL:?the ingress, http://127.0.0.1:8080}"
: "${STEPUP_API_KEY:?the API key of the app}"
: "${STEPUP_SIM_URL:?the simulator, stepup-harness sim}"

readonly ARRIVAL_SECONDS=30 PATIENCE_SECONDS=60 GRACE_SECONDS=15

# ---------------------------------------------------------------- what the steps are told with

scene() {
    printf '\n%s\n' "$*"
}

tell() {
    printf '  %s\n' "$*"
}

fail() {
    printf 'evening: %s\n' "$*" >&2
    exit 1
}

# field NAME JSON: a text or a number of a flat JSON object, such as every outcome; or nothing.
field() {
    local pattern="\"$1\":(\"([^\"]*)\"|([0-9]+))"
    [[ $2 =~ $pattern ]] || return 0
    printf '%s' "${BASH_REMATCH[2]}${BASH_REMATCH[3]}"
}

# http METHOD PATH [BODY]: the body of the answer is in ANSWER, the status in STATUS. Each request
# has an Idempotency-Key of its own, so that a repeat after a broken connection would be harmless.
# (Not by curl's --retry: it would also sit out the Retry-After of a refusal, which may be days.)
# The API key goes in by a file descriptor, since everybody can read a command line.
REQUESTS=0
http() {
    local -a body=()
    [[ -z ${3:-} ]] || body=(-H 'Content-Type: application/json' --data-binary "$3")
    REQUESTS=$((REQUESTS + 1))
    ANSWER=$(curl -sS --max-time 70 -X "$1" "$STEPUP_URL$2" \
        -H @<(printf 'Authorization: Bearer %s\n' "$STEPUP_API_KEY") \
        -H "Idempotency-Key: evening-$RUN-$REQUESTS" "${body[@]}" -w '\n%{http_code}') ||
        fail "no answer to $1 $2; does stepup listen at $STEPUP_URL?"
    STATUS=${ANSWER##*$'\n'}
    ANSWER=${ANSWER%$'\n'*}
}

# ask OUTCOME METHOD PATH BODY: a request to stepup, which must answer just this.
ask() {
    local outcome about='' name value
    http "$2" "$3" "$4"
    outcome=$(field outcome "$ANSWER")
    for name in destination enrol_by due_at detail; do
        value=$(field "$name" "$ANSWER")
        [[ -z $value ]] || about+="  $name: $value"
    done
    tell "$2 ${3/$ACCOUNT/…} -> $STATUS $outcome$about"
    [[ $outcome == "$1" ]] || fail "expected $1 from $2 $3, got $STATUS: $ANSWER"
}

# at MEMBER PATH: the path of what concerns a member.
at() {
    printf '/v1/accounts/%s/members/%s%s' "$ACCOUNT" "$1" "${2:-}"
}

# receive PLACE WORD: waits for the message at a phone or mailbox that holds WORD, after those that
# were read already, and shows it. TEXT is its text, CODE the code in it.
declare -A READ=()
receive() {
    local message deadline=$((SECONDS + ARRIVAL_SECONDS))
    while ((SECONDS < deadline)); do
        message=$(curl -sS --max-time 40 \
            "$STEPUP_SIM_URL${1/+/%2B}/next?after=${READ[$1]:-0}&wait=$ARRIVAL_SECONDS") ||
            fail "the simulator at $STEPUP_SIM_URL does not answer"
        [[ -n $message ]] || break
        READ[$1]=$((${READ[$1]:-0} + 1))
        TEXT=$(printf '%b' "$(field text "$message")")
        [[ $TEXT == *"$2"* ]] || continue
        [[ $TEXT =~ [0-9]{6,8} ]] && CODE=${BASH_REMATCH[0]} || CODE=
        tell "${3:-}"
        printf '%s\n' "$TEXT" | sed 's/^/    | /'
        return
    done
    fail "nothing with '$2' arrived at $1 within $ARRIVAL_SECONDS s"
}

text_to() { # MEMBER, or MEMBER-new for that one's new phone; [WORD]
    local owner=${1^} phone=phone
    [[ $owner != *-new ]] || owner=${owner%-new} phone='new phone'
    receive "/phones/${PHONE[$1]}" "${2:-code}" "$owner's $phone shows"
}

mail_to() { # MEMBER WORD
    receive "/mailboxes/$1.$RUN@ridgeline.example" "$2" "in ${1^}'s mailbox"
}

# prove MEMBER [WORD]: the challenge of the last answer is proved with the code that MEMBER's phone
# shows. CHALLENGE is the challenge, and the last answer that of the verification.
prove() {
    CHALLENGE=$(field challenge "$ANSWER")
    text_to "$@"
    ask verified POST "/v1/challenges/$CHALLENGE/verify" \
        "{\"account\":\"$ACCOUNT\",\"guess\":\"$CODE\"}"
}

# recorded QUERY: waits until the Activity report has a row.
recorded() {
    local deadline=$((SECONDS + PATIENCE_SECONDS))
    until http GET "/v1/accounts/$ACCOUNT/activity?$1" && [[ $(field seq "$ANSWER") ]]; do
        ((SECONDS < deadline)) || fail "no row of the Activity report for $1: $STATUS $ANSWER"
        sleep 0.2
    done
}

# The time SECONDS from now, as stepup reads it.
ahead() {
    date -u -d "@$(($(date +%s) + $1))" +%Y-%m-%dT%H:%M:%SZ
}

# ---------------------------------------------------------------- the company

RUN=$(od -An -tx1 -N6 /dev/urandom | tr -d ' \n')
ACCOUNT=ridgeline-$RUN
# A range of numbers of its own for each run, so that nobody gets too many messages.
PREFIX=$(printf '+1202%d%04d' $((RANDOM % 8 + 2)) $((RANDOM % 10000)))
declare -A PHONE=([grace]=${PREFIX}01 [ada]=${PREFIX}02 [dan]=${PREFIX}03 [eve]=${PREFIX}04)

enters() { # MEMBER FIELDS: a member of the company, with a confirmed address
    ask stored PUT "$(at "$1")" "{\"version\":1,\"email\":\"$1.$RUN@ridgeline.example\",
        \"email_verified\":true,$2}"
}

scene 'Ridgeline Plumbing: Grace runs it. Grace, Dan and Eve have 2FA on; Ben and Cleo have no phone.'
ask stored PUT "/v1/accounts/$ACCOUNT" '{"version":1,"name":"Ridgeline Plumbing","country":"US",
    "origin":"app.fieldservice.example"}'
enters grace "\"role\":\"primary_admin\",\"notify_number_changes\":true,\"two_factor\":true,
    \"phone\":\"${PHONE[grace]}\""
enters ada "\"phone\":\"${PHONE[ada]}\""
enters dan "\"phone\":\"${PHONE[dan]}\",\"two_factor\":true"
enters eve "\"phone\":\"${PHONE[eve]}\",\"two_factor\":true"
enters ben '"two_factor":false'
enters cleo '"two_factor":false'

scene 'Ada turns 2FA on. The app shows where the code would go, then has it sent.'
ask ready POST "$(at ada /enrolment)" '{}'
ask open POST "$(at ada /enrolment/send)" '{}'
prove ada
ask already_enabled POST "$(at ada /enrolment)" '{}'

scene 'Grace makes 2FA mandatory. First a review of everybody, which finds two without a phone.'
ask reviewing POST "/v1/accounts/$ACCOUNT/reviews" '{"actor":"grace"}'
review=$(field review "$ANSWER")
deadline=$((SECONDS + PATIENCE_SECONDS))
until http GET "/v1/accounts/$ACCOUNT/reviews/$review" && [[ $(field state "$ANSWER") == done ]]; do
    ((SECONDS < deadline)) || fail "the review is not done: $STATUS $ANSWER"
    sleep 0.2
done
[[ $(field no_phone "$ANSWER") == 2 ]] || fail "expected two members without a phone: $ANSWER"
for member in ben cleo; do
    [[ $ANSWER == *"{\"member\":\"$member\",\"verdicts\":[\"no_phone\""* ]] ||
        fail "$member should be found without a phone: $ANSWER"
    tell "the review: $member has no_phone"
done
mandate="\"actor\":\"grace\",\"review\":\"$review\",\"confirmed\":true"
ask not_acknowledged POST "/v1/accounts/$ACCOUNT/mandate" "{$mandate}"
tell "Grace names the two, and gives everybody $GRACE_SECONDS s (in earnest: some weeks) to enrol."
mandate+=",\"acknowledged\":[\"ben\",\"cleo\"],\"grace_until\":\"$(ahead $GRACE_SECONDS)\""
ask open POST "/v1/accounts/$ACCOUNT/mandate" "{$mandate}"
prove grace
ask stored POST "/v1/accounts/$ACCOUNT/mandate" "{$mandate,\"proof\":\"$CHALLENGE\"}"
tell 'Ben has no phone, but may still log in:'
ask not_required POST /v1/logins "{\"account\":\"$ACCOUNT\",\"member\":\"ben\",\"login\":\"ben-1\"}"
[[ $(field enrol_by "$ANSWER") ]] || fail "expected enrol_by: $ANSWER"
recorded 'member=ben&action=two_factor_enabled'

scene 'Ada changes the bank account. A code approves exactly this change.'
before=DE02120300000000202051
ask open POST "$(at ada /settings)" "{\"change\":\"change-$RUN\",\"setting\":\"bank_account\",
    \"before\":\"$before\",\"after\":\"DE02500105170137075030\",
    \"summary\":\"payouts to the account ending in 5030\"}"
operation=$(field operation "$ANSWER")
prove ada '5030'
# An approval is a JWT: three parts, of which the second says what was approved.
payload=$(field approval "$ANSWER" | cut -d. -f2 | tr -- '-_' '+/')
while ((${#payload} % 4)); do payload+='='; done
claims=$(base64 -d <<<"$payload") || fail "the approval is no JWT: $ANSWER"
tell 'with it came a signed approval, good for two minutes:'
printf '    %s\n' "$claims"
[[ $(field operation "$claims") == "$operation" && $(field sub "$claims") == ada ]] ||
    fail 'the approval is not of this change'
tell 'Right before the app carries it out, it asks whether it may. That is granted once.'
ask redeemed POST "/v1/challenges/$CHALLENGE/redeem" "{\"account\":\"$ACCOUNT\",\"before\":\"$before\"}"
ask already_used POST "/v1/challenges/$CHALLENGE/redeem" "{\"account\":\"$ACCOUNT\",\"before\":\"$before\"}"

scene 'Dan has a new number: a code to the old one, then a code to the new one.'
PHONE[dan-new]=${PREFIX}05
ask open POST "$(at dan /number)" "{\"phone\":\"${PHONE[dan-new]}\"}"
prove dan
ask open POST "$(at dan /number)" "{\"phone\":\"${PHONE[dan-new]}\",\"proof\":\"$CHALLENGE\"}"
prove dan-new
mail_to grace 'Member:      dan'
[[ $TEXT == *"•••05"* ]] || fail 'the mail does not name the new number'
mail_to dan 'was changed'
tell 'Whoever has just changed a number cannot change a bank account at once:'
ask cooling_off POST "$(at dan /settings)" "{\"change\":\"other-$RUN\",\"setting\":\"bank_account\",
    \"before\":\"$before\",\"after\":\"DE02100100100006820101\",\"summary\":\"payouts to Dan\"}"

scene 'Eve has lost her phone. Sue at support asks for a reset; Tom, not Sue, approves it.'
ask recorded POST "$(at eve /resets)" '{"requested_by":"sue","reason":"phone left on a train"}'
reset=$(field reset "$ANSWER")
ask forbidden POST "/v1/accounts/$ACCOUNT/resets/$reset/approve" '{"approved_by":"sue"}'
ask recorded POST "/v1/accounts/$ACCOUNT/resets/$reset/approve" '{"approved_by":"tom"}'
hold=$(($(date -d "$(field due_at "$ANSWER")" +%s) - $(date +%s) + 1))
((hold <= PATIENCE_SECONDS)) ||
    fail "the reset waits $hold s; start stepup with STEPUP_RESET_HOLD_SECONDS=10 for this"
mail_to eve 'reset'
tell "In the next $hold s (in earnest: a day) Eve or Grace could stop it. Nobody does."
((hold <= 0)) || sleep "$hold"
recorded 'member=eve&action=factor_reset'
login="{\"account\":\"$ACCOUNT\",\"member\":\"eve\",\"login\":\"eve-1\"}"
ask enrolment_required POST /v1/logins "$login"
tell 'Her address speaks for her, and lets her bind a new number:'
ask code_mailed POST "$(at eve /email)" '{}'
mail_to eve 'confirm'
ask stored POST "$(at eve /email/confirm)" "{\"guess\":\"$CODE\"}"
PHONE[eve-new]=${PREFIX}06
ask open POST "$(at eve /enrolment/send)" "{\"phone\":\"${PHONE[eve-new]}\"}"
prove eve-new
tell 'and with it she logs in:'
ask open POST /v1/logins "$login"
prove eve-new

scene 'Ben has done nothing, and the grace is over.'
login="{\"account\":\"$ACCOUNT\",\"member\":\"ben\",\"login\":\"ben-2\"}"
deadline=$((SECONDS + PATIENCE_SECONDS))
until http POST /v1/logins "$login" && [[ $(field outcome "$ANSWER") != not_required ]]; do
    ((SECONDS < deadline)) || fail "the grace does not end: $ANSWER"
    sleep 0.5
done
ask enrolment_required POST /v1/logins "$login"

scene 'What the Activity report keeps of the evening, the oldest first:'
http GET "/v1/accounts/$ACCOUNT/activity?format=csv&limit=1000"
[[ $STATUS == 200 ]] || fail "no report: $STATUS $ANSWER"
rows=() lines=()
while IFS=, read -r _ at _ member actor action origin old new _; do
    # A row about the whole account has no member.
    member=${member:-all}
    rows=("$member by $actor: $action ($origin)" "${rows[@]}")
    [[ -z $old ]] || new="$old -> ${new:-none}"
    lines=("$(printf '%.8s  %-6s by %-6s %-19s %-8s %s' "${at#*T}" \
        "$member" "$actor" "$action" "$origin" "$new")" "${lines[@]}")
done < <(tr -d '"\r' <<<"$ANSWER" | tail -n +2 | grep .)
for line in "${lines[@]}"; do tell "$line"; done

# Ben and Cleo had it turned on in one go.
wanted='grace by grace: two_factor_enabled (self)
dan by dan: two_factor_enabled (self)
eve by eve: two_factor_enabled (self)
ada by ada: two_factor_enabled (self)
all by grace: mandate_enabled (admin)
ben by grace: two_factor_enabled (mandate)
cleo by grace: two_factor_enabled (mandate)
dan by dan: number_changed (self)
eve by sue: reset_requested (support)
eve by tom: reset_approved (support)
eve by tom: number_changed (support)
eve by tom: factor_reset (support)
eve by eve: number_changed (self)'
[[ $(printf '%s\n' "${rows[@]}") == "$wanted" ]] || fail "these rows were expected:
$wanted"
