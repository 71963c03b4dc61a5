#!/bin/sh
# Write requirements.lock and requirements-dev.lock from pyproject.toml, through environments of their own.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$work/venv/bin/python
"${PYTHON:-python3}" -m venv "$work/venv"

listed() {
    "$python" - "$1" <<'PROGRAM'
import sys, tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extra = sys.argv[1]
print("\n".join(project["optional-dependencies"][extra] if extra else project["dependencies"]))
PROGRAM
}

frozen() {
    # A local version such as 2.13.0+cpu names one machine's build; the lock names the release.
    "$python" -m pip freeze | sed 's/+[a-z0-9.]*$//' | LC_ALL=C sort -f
}

listed "" >"$work/run.txt"
"$python" -m pip install "$(grep '^torch==' "$work/run.txt")"
"$python" -m pip install -r "$work/run.txt"
frozen >"$work/run.lock"

listed dev >"$work/dev.txt"
"$python" -m pip install -r "$work/dev.txt" -c "$work/run.lock"
frozen >"$work/all.lock"

{
    echo "# Every package that runs Mercato, pinned. \`make lock\` writes this file from pyproject.toml."
    cat "$work/run.lock"
} >requirements.lock
{
    echo "# What tests and lint need beside requirements.lock. \`make lock\` writes this file."
    echo "-r requirements.lock"
    grep -vxF -f "$work/run.lock" "$work/all.lock"
} >requirements-dev.lock
