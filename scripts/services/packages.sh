# shellcheck shell=bash
# shellcheck disable=SC2154 # settings, passwords and ports come from services.sh
#
# Read by services.sh: Debian's packages of the two servers.

missing_packages() {
    [[ -x $RABBITMQ_BIN/rabbitmq-server ]] || echo rabbitmq-server
    postgres_bin >/dev/null || echo postgresql
}

# Run by root. Installing these packages would start both servers for the whole machine; a
# policy file forbids that for the time of the installation. Whatever policy was there before is
# put back, also after an interrupted run.
# shellcheck disable=SC2016 # expanded by the root shell
INSTALL_AS_ROOT='
set -eu
policy=/usr/sbin/policy-rc.d
saved=$policy.saved-by-stepup
exec 8>/run/stepup-install.lock
flock 8
restore() {
    if [ -e "$saved" ]; then mv -f "$saved" "$policy"
    elif grep -qs "Written by stepup" "$policy"; then rm -f "$policy"
    fi
}
trap restore EXIT
trap "exit 130" INT TERM HUP
restore
if [ -e "$policy" ]; then mv "$policy" "$saved"; fi
printf "%s\n" "#!/bin/sh" "# Written by stepup while it installs packages." "exit 101" >"$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
wait=DPkg::Lock::Timeout=300
apt-get -q -o "$wait" install -y --no-install-recommends "$@" </dev/null 8>&- || {
    apt-get -q -o "$wait" update </dev/null 8>&-
    apt-get -q -o "$wait" install -y --no-install-recommends "$@" </dev/null 8>&-
}
'

install_packages() {
    local -a missing as_root=()
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} > 0)) || return 0
    local mend="sudo apt-get update && sudo apt-get install -y ${missing[*]}"
    command -v apt-get >/dev/null ||
        fail "not found: ${missing[*]}, and this is no Debian." \
            "Mend it by installing RabbitMQ 3.10 or later and PostgreSQL 15 or later, by starting Docker," \
            "or by setting STEPUP_AMQP_URL and STEPUP_DATABASE_URL to servers you have."
    if ((EUID != 0)); then
        as_root=(sudo)
        # Without a terminal nobody could type a password.
        [[ -t 0 ]] || as_root=(sudo -n)
        { command -v sudo && "${as_root[@]}" true; } >/dev/null ||
            fail "not installed: ${missing[*]}, and installing needs root." "Mend it with: $mend"
    fi
    say "installing ${missing[*]} (about a minute)"
    if ! "${as_root[@]}" sh -c "$INSTALL_AS_ROOT" sh "${missing[@]}" >"$DIR/install.log" 2>&1; then
        tail -n 20 "$DIR/install.log" >&2
        fail "the installation failed (all of it: $DIR/install.log)." "Mend it with: $mend"
    fi
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || fail "still not found after the installation: ${missing[*]}"
    say "installed"
}

require_programs() {
    local program
    for program in perl setsid flock setpriv; do
        command -v "$program" >/dev/null ||
            fail "$program is not installed." \
                "Mend it with: sudo apt-get install -y perl-base util-linux"
    done
}
