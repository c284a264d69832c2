#!/bin/sh
# Make a virtual environment and install a lock file into it: tools/venv.sh DIR LOCK [pip arguments]
set -eu
dir=$1 lock=$2
shift 2
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "planesplit needs Python 3.11 or newer; '$python' is $("$python" -V). Set PYTHON=..." >&2
    exit 3
fi
if [ ! -x "$dir/bin/pip" ]; then
    rm -rf "$dir"
    if ! "$python" -m venv "$dir" 2>/dev/null; then
        # Debian ships python3 without ensurepip.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "installing python3-venv" >&2
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
            rm -rf "$dir"
            "$python" -m venv "$dir"
        else
            echo "'$python -m venv' failed. Remedy: sudo apt-get install python3-venv" >&2
            exit 3
        fi
    fi
fi
echo "installing $lock into $dir" >&2
"$dir/bin/pip" install --quiet --disable-pip-version-check -r "$lock" "$@" 2>&1 |
    { grep -v -e '^WARNING: Location' || true; }
"$dir/bin/python" -c pass
