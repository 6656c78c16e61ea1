#!/usr/bin/env bash
# Install pydensecrf2 into the environment of the Python named as an argument, where it can be compiled. Where it cannot,
# say in one line how to add it: maskmill runs without it.
set -u
cd "$(dirname "$0")/.."
python=$1
install="$python -m pip install -r envs/requirements-pydensecrf.txt"
missing() {
    echo "note: pydensecrf2 is not installed ($1); only the CRF backend pydensecrf and its tests need it; to add it: $2$install" >&2
    exit 0
}

compiler=$(command -v c++ g++ clang++ | head -n 1)
[ -n "$compiler" ] || missing "no C++ compiler" "apt-get install g++, then "
log=$(mktemp)
trap 'rm -f "$log"' EXIT
$install --quiet --disable-pip-version-check >"$log" 2>&1 || missing "$(basename "$compiler") could not build it" ""
