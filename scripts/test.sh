#!/usr/bin/env bash
# Run the tests, from any folder: scripts/test.sh [PYTEST ARGUMENTS]. The first run installs into .venv.
# A process for each core, eight at most, runs them file by file, the longest first; `-n 0` runs them in one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh dev
parallel=(-n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder)
case " $* " in *" no:xdist "* | *" -pno:xdist "*) parallel=() ;; esac
exec .venv/bin/python -m pytest "${parallel[@]}" "$@"
