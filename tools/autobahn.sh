#!/bin/sh
# Install Autobahn|Testsuite (it needs Python 2.7) into a directory: tools/autobahn.sh DIR
# Without a Python 2.7, or without its packages, say so and go on: the tests that need it say it too.
set -eu
dir=$1
works() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; }

for python in "${PYTHON2:-python2.7}" /usr/bin/python2.7 "$HOME"/.pyenv/versions/2.7*/bin/python2.7; do
    if works "$python"; then
        break
    fi
done
if ! works "$python"; then
    echo "no Python 2.7 here, so no Autobahn|Testsuite; set PYTHON2=... to one" >&2
    exit 0
fi
rm -rf "$dir"
echo "installing requirements-autobahn.lock into $dir" >&2
if ! "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir" \
    -r requirements-autobahn.lock 2>"$dir.err"; then
    tail -3 "$dir.err" >&2
    echo "Autobahn|Testsuite could not be installed" >&2
    rm -rf "$dir" "$dir.err"
    exit 0
fi
rm -f "$dir.err"
touch "$dir/zope/__init__.py" # pip's --target makes no namespace packages
ln -sf "$(command -v "$python")" "$dir/python2.7"
