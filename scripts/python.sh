#!/usr/bin/env bash
#
# Prints the path of a Python that has the AMQP client `pika` and the sealed boxes of `pynacl`,
# which the tests use to speak to stepup as a program written by somebody else would. Makes it on
# first use: a virtual environment in .services/venv. An interpreter of your own that has both is
# taken instead if STEPUP_PYTHON names it.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${STEPUP_SERVICES_DIR:-$REPOSITORY/.services}/venv
PACKAGES=(pika==1.4.4 pynacl==1.6.2)

complete() { # PYTHON
    "$1" -c 'import nacl.public, pika' 2>/dev/null
}

fail() {
    printf 'python: %s\n' "$@" >&2
    exit 1
}

if [[ -n ${STEPUP_PYTHON:-} ]]; then
    complete "$STEPUP_PYTHON" || fail "STEPUP_PYTHON=$STEPUP_PYTHON cannot import pika and nacl." \
        "Mend it with: '$STEPUP_PYTHON' -m pip install ${PACKAGES[*]}   or: unset STEPUP_PYTHON"
    printf '%s\n' "$STEPUP_PYTHON"
    exit
fi

if ! complete "$VENV/bin/python"; then
    mkdir -p "$(dirname "$VENV")"
    printf 'python: making %s with %s\n' "$VENV" "${PACKAGES[*]}" >&2
    python3 -m venv --clear "$VENV" >&2 ||
        fail "the virtual environment could not be made." \
            "Mend it with: sudo apt-get install -y python3-venv"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "${PACKAGES[@]}" >&2 ||
        fail "pip could not install ${PACKAGES[*]}; is PyPI reachable?" \
            "Without it: sudo apt-get install -y python3-pika python3-nacl" \
            "            export STEPUP_PYTHON=/usr/bin/python3"
    complete "$VENV/bin/python" || fail "pika and nacl were installed but cannot be imported."
fi
printf '%s\n' "$VENV/bin/python"
