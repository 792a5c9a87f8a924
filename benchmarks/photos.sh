#!/usr/bin/env bash
# Folds 1 to 3 of a VOCdevkit, 1 and 5 shots: before and after a short training; with 1 shot also under every protocol and with weak annotations.
# benchmarks/photos.sh VOCDEVKIT SQUEEZENET_WEIGHTS OUT [FOLD...]
set -euo pipefail
root=$1 weights=$2 out=$3
folds=("${@:4}")
[ ${#folds[@]} -gt 0 ] || folds=(1 2 3)
declare -A steps=([1]=60 [5]=30) pairs=([1]=120 [2]=162 [3]=68)
for fold in "${folds[@]}"; do
  for shot in 1 5; do
    run=$out/fold$fold-${shot}shot
    options=(--config benchmarks/photos.yaml --data.root "$root" --data.fold "$fold" --data.shot "$shot"
      --model.method.encoder.weights "$weights")
    fsseg test "${options[@]}" --untrained --out "$run/untrained"
    fsseg fit "${options[@]}" --out "$run/trained" --trainer.max_steps "${steps[$shot]}"
    checkpoint=$run/trained/last.ckpt
    if [ "$shot" = 5 ]; then
      fsseg test --ckpt_path "$checkpoint"
      continue
    fi
    fsseg test --ckpt_path "$checkpoint" --protocols fsseg,panet --protocol.runs 3 --protocol.episodes 40 --out "$run/drawn"
    # Codes that walk their list take it once: fewer episodes would test its beginning only.
    fsseg test --ckpt_path "$checkpoint" --protocols pmms,pfenet,hsnet --protocol.runs 1 --protocol.episodes "${pairs[$fold]}" \
      --out "$run/walked"
    for annotation in scribble box; do
      fsseg test --ckpt_path "$checkpoint" --data.images.support_annotation "$annotation" --out "$run/$annotation"
    done
  done
done
