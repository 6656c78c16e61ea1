#!/usr/bin/env bash
# Print a Python 3.11 or 3.12: the one named as an argument, or the first on the PATH that works.
set -u
wanted='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'
for python in "${1:-}" ${1:+-} python3.12 python3.11 python3 python; do
    [ "$python" = "-" ] && break
    [ -n "$python" ] && "$python" -c "$wanted" >/dev/null 2>&1 && echo "$python" && exit 0
done
found=$("${1:-python3}" --version 2>&1 | head -n 1)
echo "error: Python 3.11 or 3.12 is needed, found: ${found:-none}; install one, or name it: make PYTHON=/path/to/python3.12" >&2
exit 1
