#!/usr/bin/env bash
# Render a small Paired-Image-Texture set and a small network of cameras, verify them, show them in out/demo/report.html,
# train a network on them, and show what it learned in out/demo/reid.html. The first run installs into .venv; a later one
# goes on where the last one stopped. Options are handed to the rendering of the first set, e.g. --overwrite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
out=out/demo
mkdir -p "$out"
: >"$out/commands.txt"

run() {
  printf '\n$ %s\n' "$*"
  printf '%s\n' "$*" >>"$out/commands.txt"
  "$@"
}

run python -m synth pit --out "$out/pit" --num-samples 60 --samples-per-shard 20 --workers 2 --seed 0 "$@"
run python -m shards verify "$out/pit"
run python -m shards sheet "$out/pit" --out "$out/sheet.png" --num 12 --columns 2
run python -m synth scene --out "$out/market" --num-identities 40 --num-cameras 4 --keep-frames --workers 2 --seed 0
run python -m shards verify "$out/market"
run python -m synth export-person --out "$out/person.glb" --seed 0
run python -m reid train laptop --data.rendered "$out/market" --out "$out/run" --resume --optimise.epochs 15
run python -m reid evaluate "$out/run" --rerank
run python -m reid report "$out/run" --out "$out/reid.html"
run python scripts/demo_report.py "$out/pit" --scenes "$out/market" --out "$out/report.html" --commands "$out/commands.txt"

printf '\nAll done in %d s. Open %s and %s in a browser, %s in a 3D viewer.\n' \
  "$SECONDS" "$PWD/$out/report.html" "$PWD/$out/reid.html" "$PWD/$out/person.glb"
