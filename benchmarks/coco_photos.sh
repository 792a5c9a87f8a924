#!/usr/bin/env bash
# The four folds of a small COCO, 1-way 5-shot: a short training of RPMMs, and PANet-init with the same encoder beside it.
# benchmarks/coco_photos.sh COCO RESNET18_WEIGHTS OUT
set -euo pipefail
root=$1 weights=$2 out=$3
options=(--config benchmarks/coco_photos.yaml --data.root "$root" --model.method.encoder.weights "$weights")
for fold in 0 1 2 3; do
  fsseg fit --config experiments/rpmm_coco_5shot.yaml "${options[@]}" --data.fold "$fold" --out "$out/fold$fold"
  fsseg test --ckpt_path "$out/fold$fold/last.ckpt"
  fsseg test --config experiments/rpmm_coco_5shot.yaml "${options[@]}" --data.fold "$fold" --untrained --model.method PANet \
    --out "$out/fold$fold/panet-init"
done
