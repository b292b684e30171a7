#!/bin/sh
# Makes the environment: `sh requirements/install.sh VENV run|test|bench|pipecat`.
# PYTHON names the interpreter; without it, the first one found that is new enough.
set -u

venv=$1
kind=$2
fail() {
    echo "$*" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c '' 2>/dev/null || fail "PYTHON=$PYTHON does not run."
        is_new_enough "$PYTHON" ||
            fail "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" -V 2>&1 | cut -d' ' -f2)."
        return
    fi
    for PYTHON in python3 python3.13 python3.12 python3.11 python3.14; do
        is_new_enough "$PYTHON" && return
    done
    found=$(python3 -V 2>/dev/null | cut -d' ' -f2)
    fail "Python 3.11 or newer is needed; found ${found:-none}. Install one and name it: make PYTHON=/path/to/python3.11"
}

make_venv() {
    find_python
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        fail "Python's venv module is missing. On Debian or Ubuntu: apt install python$version-venv"
    fi
    echo "Making the environment in $venv with $("$PYTHON" -V) …"
    # Only what is an environment already may be cleared away.
    clear=
    [ -f "$venv/pyvenv.cfg" ] && clear=--clear
    "$PYTHON" -m venv $clear "$venv" >"$log" 2>&1 || fail_with_log "The environment could not be made"
}

fail_with_log() {
    # The last line that says something is the reason.
    reason=$(grep -iE 'error|could not|failed|timed out|refused' "$log" | tail -n 1)
    fail "$1: ${reason:-$(tail -n 1 "$log")}"
}

install_uv() {
    [ -x "$venv/bin/uv" ] && return 0
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --retries 2 -r requirements/bootstrap.lock >"$log" 2>&1
}

install_packages() {
    if install_uv; then
        UV_PYTHON_DOWNLOADS=never "$venv/bin/uv" pip install --quiet \
            --python "$venv/bin/python" --require-hashes -r "$1" >"$log" 2>&1
    else
        echo "uv is not to be had; pip does it, more slowly."
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
            --retries 2 -r "$1" >"$log" 2>&1
    fi
}

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
# An environment whose interpreter is gone, or too old, is made anew.
is_new_enough "$venv/bin/python" || make_venv
echo "Installing packages from requirements/$kind.lock …"
install_packages "requirements/$kind.lock" ||
    fail_with_log "The packages are not to be had"
touch "$venv/.installed-$kind"
# The tests' packages hold everything that running and measuring need, the bench's what running does.
[ "$kind" = test ] && touch "$venv/.installed-run" "$venv/.installed-bench"
[ "$kind" = bench ] && touch "$venv/.installed-run"
exit 0
