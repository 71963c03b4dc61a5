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

# All files of a release on the public index, so that the lock is good for every platform. torch alone goes without:
# which build of it serves depends on the machine, and operators take theirs from an index of their own.
"$python" -m pip install "uv==0.13.9"
hashed() {
    "$work/venv/bin/uv" pip compile --quiet --universal --no-deps --no-header --no-annotate --generate-hashes "$1"
}

grep '^torch==' "$work/run.lock" >"$work/torch.lock"
grep -v '^torch==' "$work/run.lock" >"$work/run.pinned"
grep -vxF -f "$work/run.lock" "$work/all.lock" >"$work/dev.pinned"
{
    echo "# Every package that runs Mercato but torch, pinned with its hashes. \`make lock\` writes this file."
    hashed "$work/run.pinned"
} >requirements.lock
{
    echo "# torch, pinned. Its builds differ by machine, so no hash can stand here. \`make lock\` writes this file."
    cat "$work/torch.lock"
} >requirements-torch.lock
{
    echo "# What tests and lint need beside requirements.lock. \`make lock\` writes this file."
    hashed "$work/dev.pinned"
} >requirements-dev.lock
