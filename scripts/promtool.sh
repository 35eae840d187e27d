#!/usr/bin/env bash
#
# Prints the path of `promtool`, which tests the alarms in deploy/alerts.yml: the one on the PATH, or
# else one taken out of Debian's package into .services/promtool. That needs no root and starts nothing.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
FOLDER=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/promtool

fail() {
    printf 'promtool: %s\n' "$@" >&2
    exit 1
}

# With package lists of its own where the system has none, as a fresh container has.
download() {
    local own=(-o "Dir::State::lists=$PWD/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Sandbox::User= -o Debug::NoLocking=true)
    apt-get -q download prometheus && return
    mkdir -p lists/partial
    apt-get -q "${own[@]}" update && apt-get -q "${own[@]}" download prometheus
}

command -v promtool && exit
if ! "$FOLDER/promtool" --version >/dev/null 2>&1; then
    rm -rf "$FOLDER"
    mkdir -p "$FOLDER"
    cd "$FOLDER"
    echo "promtool: taking it out of Debian's package prometheus (about 30 MB)" >&2
    if ! { download && dpkg-deb --extract prometheus_*.deb package; } >log 2>&1; then
        tail -n 5 log >&2
        fail "Debian's package prometheus could not be had (all of it: $FOLDER/log)." \
            "Mend it by installing Prometheus 2.42 or later, so that promtool is on the PATH."
    fi
    mv package/usr/bin/promtool .
    rm -rf package lists prometheus_*.deb
    "$FOLDER/promtool" --version >/dev/null || fail "the promtool in Debian's package does not run here."
fi
echo "$FOLDER/promtool"
