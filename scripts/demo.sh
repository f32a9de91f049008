#!/usr/bin/env bash
# The whole way in miniature: render people, write them as a real data set is laid out, annotate that set, restyle, draw its
# people in other poses, and train on real, rendered and generated pictures. Pages in out/demo show all of it: report.html,
# generative.html, reid.html. The first run installs into .venv; a later one goes on where the last one stopped. Options are
# handed to the rendering of the first set, e.g. --overwrite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
export PATH="$PWD/.venv/bin:$PATH"
out=out/demo
mkdir -p "$out"
: >"$out/commands.txt"

run() {
  printf '\n$ %s\n' "$*" >&2
  printf '%s\n' "$*" >>"$out/commands.txt"
  "$@"
}

# For a command that wants to make its folder, the first argument, itself.
once() {
  if [ -d "$1" ]; then printf '%s\n' "${*:2}" >>"$out/commands.txt"; else run "${@:2}"; fi
}

# Networks that two cores train in a minute or less: a ResNet-18 on small pictures, for a few epochs.
small=(--model.backbone.name resnet18 --sampler.batch-size 8 --optimise.decay cosine --optimise.learning-rate 7e-4)
people=(--input.height 96 --input.width 48 --augment.pad 4)

# Rendered people: Paired-Image-Texture samples, and a network of cameras.
run python -m synth pit --out "$out/pit" --num-samples 60 --samples-per-shard 20 --workers 2 --seed 0 "$@"
run python -m shards verify "$out/pit"
run python -m shards sheet "$out/pit" --out "$out/sheet.png" --num 12 --columns 2
run python -m synth scene --out "$out/market" --num-identities 32 --num-cameras 4 --keep-frames --workers 2 --seed 0
run python -m shards verify "$out/market"
run python -m synth export-person --out "$out/person.glb" --seed 0

# A set in a real layout. No photographs come with the demo, so these are other rendered people before other cameras, warm and
# faded ones, written as Market-1501's authors lay theirs out: pictures, identities and cameras, and nothing else that the
# renderer knows.
run python -m synth scene --out "$out/street" --num-identities 24 --num-cameras 3 --workers 2 --seed 1 \
  --sensor.temperature-ev 0.3 0.4 --sensor.saturation 0.5 0.65
once "$out/street-folders" python -m shards unpack "$out/street" "$out/street-folders"
run python -m shards pack market1501 "$out/street-folders" "$out/real" --dataset street --licence CC0-1.0

# What the renderer knows, learned from it, scored on people and cameras never seen, and written into the real layout.
run python -m generative train texture --data "$out/pit" "$out/market" --out "$out/texture" --resume "${small[@]}" \
  --model.last-upsampling bilinear --input.height 64 --input.width 64 --augment.pad 3 --optimise.epochs 5
run python -m generative train keypoints --data "$out/pit" "$out/market" --out "$out/keypoints" --resume "${small[@]}" \
  --input.height 96 --input.width 48 --augment.pad 4 --augment.rotate 15 --optimise.epochs 6
for label in texture keypoints; do
  run python -m generative evaluate "$out/$label" --data "$out/street" --batch-size 16 --json \
    --report "$out/$label.html" | tee "$out/$label.json"
done
run python -m generative annotate "$out/texture" --data "$out/real" --out "$out/real-texture"
run python -m generative annotate "$out/keypoints" --data "$out/real-texture" --out "$out/real-labelled"

# The rendered set in the look of the real one.
run python -m generative train style --data "$out/market" --target "$out/real" --out "$out/style" --resume \
  --networks.height 64 --networks.width 32 --networks.channels 16 --networks.blocks 3 \
  --networks.discriminator-channels 16 --networks.embedding-channels 16 --losses.identity-weight 1 \
  --optimise.batch-size 4 --optimise.learning-rate 1e-3 --optimise.epochs 2
run python -m generative restyle "$out/style" --data "$out/market" --out "$out/market-restyled"

# The real people in the poses of rendered ones, drawn under the eyes of a network that tells them apart.
run python -m reid train laptop --data.real "$out/real-labelled" --out "$out/guider" --resume "${people[@]}" \
  --optimise.epochs 10
run python -m generative train pose-transfer --data "$out/real-labelled" --poses "$out/market" --guider ce \
  --guider-run "$out/guider" --out "$out/transfer" --resume --networks.size 64 --networks.width 16 \
  --networks.discriminator-width 16 --networks.spectral-norm --optimise.epochs 16 --optimise.ema-decay 0.99
run python -m generative augment "$out/transfer" --data "$out/real-labelled" --poses "$out/market" --per-image 2 \
  --out "$out/generated"

# Real and rendered people together, which is who judges what was drawn; and with rendered ones in the look of the real set, and
# generated ones.
run python -m reid train laptop --data.real "$out/real-labelled" --data.rendered "$out/market" --out "$out/judge" --resume \
  "${people[@]}" --optimise.epochs 4
run python -m generative score "$out/transfer" --data "$out/street" --reid "$out/judge" --json | tee "$out/transfer.json"
run python -m reid train laptop --data.real "$out/real-labelled" --data.rendered "$out/market-restyled" \
  --data.generated "$out/generated" --out "$out/run" --resume "${people[@]}" --optimise.epochs 6
run python -m reid evaluate "$out/run" --rerank

run python -m reid report "$out/run" --out "$out/reid.html"
run python scripts/demo_generative.py "$out" --out "$out/generative.html" --commands "$out/commands.txt"
run python scripts/demo_report.py "$out/pit" --scenes "$out/market" --out "$out/report.html" --commands "$out/commands.txt"

printf '\nAll done in %d s. Open %s, %s and %s in a browser, %s in a 3D viewer.\n' \
  "$SECONDS" "$PWD/$out/report.html" "$PWD/$out/generative.html" "$PWD/$out/reid.html" "$PWD/$out/person.glb"
