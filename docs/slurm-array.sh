#!/usr/bin/env bash
# Scores a list of images in parts, one array task per part:
#
#   job=$(sbatch --parsable --array=1-16 docs/slurm-array.sh 16 list.csv runs/big --model sd15)
#   sbatch --dependency="afterany:$job" --wrap "origcli report merge runs/big/part-* --out runs/big/whole"
#
# Words: the number of parts, the images, the directory of the run, options of `origcli score`.
# A part that was stopped or has failed resumes when its task runs again: sbatch --array=3,7 and the same words.
#SBATCH --job-name=origcli
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

parts=${1:?number of parts} images=${2:?images} out=${3:?directory of the run}
part=${SLURM_ARRAY_TASK_ID:?run it with sbatch --array=1-$parts}
if ((part < 1 || part > parts)); then
  echo "task $part of $parts: run it with --array=1-$parts" >&2
  exit 2
fi

# exec, so that the signal before the time limit reaches origcli, which stops at the next safe point.
exec origcli score "$images" --shard "$part/$parts" --out "$out/part-$part" --resume "${@:4}"
