#!/usr/bin/env bash
# The fine-tuning study of docs/results.md: trains the bundled UNet further on nine unseen pairs, scores six of
# them and six others under both models, and compares. A stopped run resumes.
#
#   bash benchmarks/fine_tune.sh OUT
set -euo pipefail
out=$1
mkdir -p "$out"

# Of ten images, nine are trained on: a training holds a tenth out.
for set in trained:20244 others:20245; do
  origcli synth "$out/${set%:*}" --mixture originality --category unseen --count 10 --resolution 64 \
    --seed "${set#*:}" --resume --quiet
done
printf '[unet]\nwarmup_steps = 0\n' >"$out/fine-tune.toml"
origcli train-unet "$out/trained" --vae shapes --text-encoder shapes --init-from shapes \
  --config "$out/fine-tune.toml" --epochs 711 --batch-size 16 --learning-rate 2e-4 --schedule constant \
  --ema-decay 0.98 --sample-every 0 --dtype bf16 --threads 1 --out "$out/tuned" --resume --quiet

{
  echo path,group
  for set in trained others; do
    for i in 0 1 2 3 4 5; do echo "$(realpath "$out")/$set/images/00000/00000$i.png,$set"; done
  done
} >"$out/images.csv"
for model in base tuned; do
  place=shapes
  [[ $model == tuned ]] && place=$out/tuned/pipeline
  origcli score "$out/images.csv" --model "$place" --detector shapes --guidance 2 \
    --threshold 0.168 --max-tokens 2 --dtype bf16 --threads 1 --out "$out/$model" --resume || [[ $? == 9 ]]
done
origcli compare "$out/base" "$out/tuned" --out "$out/comparison" --force
