#!/usr/bin/env bash
# Run the tests, from any folder: scripts/test.sh [PYTEST ARGUMENTS]. The first run installs into .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh dev
exec .venv/bin/python -m pytest "$@"
