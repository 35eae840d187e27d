#!/usr/bin/env bash
#
# Puts the RabbitMQ 4 and the Erlang of Debian 13 into a folder of their own, so that the tests can
# run against both ends of the supported range on one Debian machine. Installs nothing, needs no
# root, and changes nothing outside of the folder.
#
#   scripts/rabbitmq4.sh FOLDER        prints the value for STEPUP_RABBITMQ_BIN
#
# Then, beside the servers of `make up`:
#
#   export STEPUP_SERVICES_DIR=$PWD/.services/4 STEPUP_RABBITMQ_BIN=$(scripts/rabbitmq4.sh FOLDER)
#   scripts/services.sh up --private
#   eval "$(scripts/services.sh env)"
#   cargo test -p stepup-workers --test it
#   scripts/services.sh down
#
# DEBIAN_MIRROR is where the packages come from, if not from deb.debian.org. The programs are built
# for Debian 13's libc, so they are given that one's loader.

set -euo pipefail

MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
SPEAKER=rabbitmq4
# shellcheck source=scripts/processes.sh
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"

if [[ -z ${1:-} ]]; then
    sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
mkdir -p "$1"
FOLDER=$(cd "$1" && pwd -P)
ROOT=$FOLDER/root
LIBRARIES=$ROOT/usr/lib/$(uname -m)-linux-gnu
[[ $FOLDER =~ ^[A-Za-z0-9/._+-]+$ ]] ||
    fail "RabbitMQ's start script takes nothing but A-Z a-z 0-9 / . _ + - in a path."

download() {
    say "downloading Debian 13's packages into $FOLDER (about 60 MB)"
    mkdir -p "$FOLDER"/apt/{lists,cache/archives}/partial
    : >"$FOLDER/apt/status"
    printf 'deb [signed-by=%s] %s trixie main\n' "$KEYRING" "$MIRROR" >"$FOLDER/apt/sources.list"
    cat >"$FOLDER/apt/apt.conf" <<CONF
Dir::State "$FOLDER/apt";
Dir::State::status "$FOLDER/apt/status";
Dir::Cache "$FOLDER/apt/cache";
Dir::Etc::sourcelist "$FOLDER/apt/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
Debug::NoLocking "true";
CONF
    local -x APT_CONFIG=$FOLDER/apt/apt.conf
    apt-get -q update >&2
    apt-get -q -y --download-only install rabbitmq-server patchelf >&2
}

# Every program that the system's loader would start with the system's libc.
adopt() {
    local file loader
    loader=$(echo "$LIBRARIES"/ld-linux-*.so.*)
    local patchelf=("$loader" --library-path "$LIBRARIES" "$ROOT/usr/bin/patchelf")
    for file in "$ROOT"/usr/lib/erlang/{bin,erts-*/bin,lib/*/priv/bin}/*; do
        [[ -f $file && ! -L $file && $(head -c 4 "$file" | tail -c 3) == ELF ]] || continue
        "${patchelf[@]}" --set-interpreter "$loader" --force-rpath --set-rpath "$LIBRARIES" "$file"
    done
    sed -i "s|ROOTDIR=/usr/lib/erlang|ROOTDIR=$ROOT/usr/lib/erlang|" \
        "$ROOT"/usr/lib/erlang/{bin,erts-*/bin}/erl
}

# The scripts of RabbitMQ look for Erlang on the PATH.
wrap() {
    local name
    mkdir -p "$FOLDER/bin"
    for name in rabbitmq-server rabbitmqctl rabbitmq-plugins rabbitmq-diagnostics; do
        printf '#!/bin/sh\nPATH=%s:$PATH\nexec %s "$@"\n' "$ROOT/usr/lib/erlang/bin" \
            "$ROOT/usr/lib/rabbitmq/bin/$name" >"$FOLDER/bin/$name"
        chmod 755 "$FOLDER/bin/$name"
    done
}

if [[ ! -x $FOLDER/bin/rabbitmq-server ]]; then
    [[ -e $KEYRING ]] || fail "$KEYRING is missing: install debian-archive-keyring."
    download
    rm -rf "$ROOT"
    mkdir "$ROOT"
    for package in "$FOLDER"/apt/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$ROOT"
    done
    adopt
    wrap
fi
echo "$FOLDER/bin"
