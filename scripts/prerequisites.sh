#!/usr/bin/env bash
#
# Checks what must be installed before anything can be built here, and names what is missing with
# the command that mends it. Installs nothing.
#
#   scripts/prerequisites.sh build    what `make demo` and `make build` need
#   scripts/prerequisites.sh test     the same, and what `make test` and `make lint` need besides

set -euo pipefail

CARGO_MINOR=95
# Debian 12 has a recent Rust under these names; its packages `cargo` and `rustc` are too old.
RUST_PACKAGES='cargo-web rustc-web rustfmt-web rust-web-clippy'

problems=0

missing() { # WHAT MEND
    printf 'prerequisites: %s\n               mend it with: %s\n' "$1" "$2" >&2
    problems=1
}

apt() {
    printf 'sudo apt-get update && sudo apt-get install -y %s' "$*"
}

check_cargo() {
    local mend version minor
    mend="$(apt "$RUST_PACKAGES")   (or: rustup update stable)"
    if ! version=$(cargo --version 2>/dev/null); then
        missing 'cargo is not installed' "$mend"
        return
    fi
    minor=${version#cargo 1.}
    minor=${minor%%.*}
    if ! [[ $minor =~ ^[0-9]+$ ]] || ((minor < CARGO_MINOR)); then
        missing "$version is too old: 1.$CARGO_MINOR or later is needed" "$mend"
    fi
    [[ $1 == test ]] || return 0
    cargo fmt --version >/dev/null 2>&1 ||
        missing 'cargo fmt is not installed' "$(apt rustfmt-web)   (or: rustup component add rustfmt)"
    cargo clippy --version >/dev/null 2>&1 ||
        missing 'cargo clippy is not installed' \
            "$(apt rust-web-clippy)   (or: rustup component add clippy)"
}

check_python() {
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        missing 'python3 with venv is not installed' "$(apt python3 python3-venv)"
}

case ${1:-} in
build | test) ;;
*)
    sed -n '3,/^$/{s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
check_cargo "$1"
command -v cc >/dev/null || missing 'no C compiler (cc) is installed' "$(apt gcc libc6-dev)"
command -v perl >/dev/null || missing 'perl is not installed' "$(apt perl-base)"
command -v curl >/dev/null || missing 'curl is not installed' "$(apt curl)"
[[ $1 != test ]] || check_python
exit "$problems"
