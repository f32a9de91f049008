#!/usr/bin/env bash
# Make .venv in the checkout and install the project into it, unless that is done.
#
#   scripts/setup.sh        what the commands need
#   scripts/setup.sh dev    and what the tests need
#
# PYTHON names the interpreter to use; without it, python3.13, 3.12, 3.11 and python3 are tried in this order. It is
# installed again when pyproject.toml has changed, when the checkout has moved, or when the last try was cut short.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate candidates=(python3.13 python3.12 python3.11 python3) tried=()
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    is_new_enough "$candidate" && printf '%s\n' "$candidate" && return
    tried+=("$candidate ($("$candidate" --version 2>/dev/null || printf 'none'))")
  done
  fail "Python >= 3.11 is needed, found: ${tried[*]}; install one, or name it: PYTHON=/path/to/python3 $0"
}

# What an installation depends on; a copy of it, written last, marks one that is complete.
state() { pwd -P && cat pyproject.toml; }

is_installed() {
  local marker
  for marker in "$@"; do
    state | cmp -s - "$marker" && return
  done
  return 1
}

extra=${1:-}
case $extra in
  "") markers=(.venv/installed .venv/installed-dev) ;;
  dev) markers=(.venv/installed-dev) ;;
  *) fail "extras are: dev, got $extra" ;;
esac

if ! is_new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$("$python" --version) comes without its venv module; on Debian: apt-get install python3-venv"
  printf 'Making .venv with %s\n' "$("$python" --version)" >&2
  "$python" -m venv --clear .venv
fi

if ! is_installed "${markers[@]}"; then
  printf 'Installing into .venv (PyTorch is large: a minute or two, more on a slow network) ...\n' >&2
  .venv/bin/python -m pip install -qq --disable-pip-version-check --editable ".${extra:+[$extra]}" ||
    fail "the installation stopped, see above; the same command goes on with it"
  state >"${markers[0]}"
  printf 'Installed in %d s\n' "$SECONDS" >&2
fi
