#!/bin/sh
# Writes the lock files anew from pyproject.toml: `sh requirements/lock.sh VENV`.
# They hold exact versions and hashes for every platform and Python, and no address of a registry.
set -eu

venv=$1
export UV_PYTHON_DOWNLOADS=never
compile() {
    "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}
compile requirements/bootstrap.in --output-file requirements/bootstrap.lock
compile pyproject.toml --output-file requirements/run.lock
# Versions that run.lock chose hold for the tests too.
compile pyproject.toml --group test --constraint requirements/run.lock \
    --output-file requirements/test.lock
# What `make bench` needs beside them; the peer that brings much of its own stands alone.
compile pyproject.toml --group bench --constraint requirements/test.lock \
    --output-file requirements/bench.lock
compile requirements/pipecat.in --output-file requirements/pipecat.lock
# What the container image installs: the same, and what keeping recordings in S3 needs.
compile pyproject.toml --extra s3 --constraint requirements/run.lock \
    --output-file requirements/image.lock
