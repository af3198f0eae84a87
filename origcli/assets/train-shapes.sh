#!/bin/sh
# How the bundled model `shapes` was trained: all of it, into runs/shapes (hours on two CPU cores).
# Needs `origcli` and its `python` on the PATH. Run again after a stop, it resumes where it was.
set -eu

# Data: what the model learns from, and what it is calibrated on.
origcli synth data/shapes --mixture originality --count 100000 --resolution 64 --resume
origcli synth data/held-out --mixture originality --count 500 --resolution 64 --seed 1 --resume

# VAE and UNet in turns. A VAE whose encoder is frozen keeps its latents, so that a UNet may go on.
origcli train-vae data/shapes --epochs 0.3 --batch-size 16 --out runs/shapes-vae-1 --resume
origcli train-vae data/shapes --init-from runs/shapes-vae-1/vae --freeze-encoder --epochs 0.3 \
  --batch-size 16 --learning-rate 1.5e-3 --out runs/shapes-vae-2 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-2 --epochs 1.45 --out runs/shapes-unet-1 --resume
origcli train-vae data/shapes --init-from runs/shapes-vae-2/vae --epochs 0.8 \
  --batch-size 16 --learning-rate 1.8e-3 --out runs/shapes-vae-3 --resume
origcli train-vae data/shapes --init-from runs/shapes-vae-3/vae --freeze-encoder --epochs 0.6 \
  --batch-size 16 --learning-rate 1.2e-3 --out runs/shapes-vae-4 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-4 --init-from runs/shapes-unet-1/pipeline \
  --text-encoder runs/shapes-unet-1/pipeline --epochs 1.35 --batch-size 32 --learning-rate 8e-4 \
  --ema-decay 0.999 --out runs/shapes-unet-2 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-4 --init-from runs/shapes-unet-2/pipeline \
  --text-encoder runs/shapes-unet-2/pipeline --epochs 1.6 --batch-size 32 --learning-rate 8e-4 \
  --ema-decay 0.999 --out runs/shapes-unet-3 --resume
origcli train-vae data/shapes --init-from runs/shapes-vae-4/vae --freeze-encoder --epochs 1.6 \
  --batch-size 16 --learning-rate 1.2e-3 --out runs/shapes-vae-5 --resume
origcli train-vae data/shapes --init-from runs/shapes-vae-5/vae --freeze-encoder --epochs 0.9 \
  --batch-size 16 --learning-rate 1e-3 --out runs/shapes-vae-6 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-3/pipeline \
  --text-encoder runs/shapes-unet-3/pipeline --epochs 1.75 --batch-size 32 --learning-rate 1e-3 \
  --ema-decay 0.999 --out runs/shapes-unet-4 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-4/pipeline \
  --text-encoder runs/shapes-unet-4/pipeline --epochs 1.8 --batch-size 32 --learning-rate 1e-3 \
  --ema-decay 0.999 --dtype bf16 --out runs/shapes-unet-5 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-5/pipeline \
  --text-encoder runs/shapes-unet-5/pipeline --epochs 3 --batch-size 32 --learning-rate 1e-3 \
  --ema-decay 0.999 --dtype bf16 --out runs/shapes-unet-6 --resume
origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-6/pipeline \
  --text-encoder runs/shapes-unet-6/pipeline --epochs 2.5 --batch-size 32 --learning-rate 8e-4 \
  --ema-decay 0.999 --dtype bf16 --out runs/shapes-unet-7 --resume

# The model, in half precision; then its detector, and its constants.
python -m origcli.models.half_precision runs/shapes-unet-7/pipeline runs/shapes
origcli synth data/uniform --count 60000 --resolution 64 --seed 11 --resume
origcli train-detector data/uniform --epochs 4 --out runs/shapes-detector --resume
cp -r runs/shapes-detector/detector runs/shapes/
origcli calibrate data/held-out --model runs/shapes --detector runs/shapes/detector --guidance 2 --queries 40 \
  --write --out runs/shapes-calibrate --force
