#!/usr/bin/env bash
# The two questions that benchmarks leave out, on photographs of VOC: docs/absent-classes.md and docs/which-supports.md have the tables and pictures.
# It tests the heads that benchmarks/photographs.sh has trained in OUT, and trains CANet and PMMs with absent queries. The same command resumes.
# benchmarks/studies.sh VOCDEVKIT EFFICIENTNET_LITE0 OUT
set -euo pipefail
voc=$1 efficientnet=$2 out=$3
export OMP_NUM_THREADS=1
here=$(dirname "$0")/photographs
encoder=(--model.method.encoder efficientnet_lite0 --model.method.encoder.weights "$efficientnet" --model.method.encoder.frozen true --data.loading.cache_folder "$out/maps")

for method in panet kernel_density_ratio mixture_classifier insid3; do
  fsseg benchmark --config "$here/voc.yaml" --config "$here/$method.yaml" --data.root "$voc" "${encoder[@]}" --untrained --shots 1 5 --folds 1 2 3 \
    --protocol.absent_queries 0.5 --out "$out/absent/$method"
done
for method in canet pmms; do
  for fold in 1 2 3; do
    for shot in 1 5; do
      fsseg test --ckpt_path "$out/voc/$method/fold$fold-seed0/last.ckpt" --data.test_shot $shot --protocol.absent_queries 0.5 \
        --data.loading.cache_folder "$out/maps" --resume --out "$out/absent/$method/fold$fold-${shot}shot"
    done
  done
done
for method in canet pmms; do
  fsseg benchmark --config "$here/voc.yaml" --config "$here/$method.yaml" --data.root "$voc" "${encoder[@]}" --shots 1 5 --train_shot 1 --folds 1 2 3 \
    --data.episodes.absent_queries 0.3 --protocol.absent_queries 0.5 --out "$out/absent/${method}_with_absent"
done
fsseg table "$out"/absent/* --absent --intervals --out "$out/absent.md" --picture "$out/absent.png"

for fold in 1 2 3; do
  beside=()
  for method in panet kernel_density_ratio; do
    fsseg supports --config "$here/voc.yaml" --config "$here/$method.yaml" --data.root "$voc" --data.fold $fold "${encoder[@]}" --untrained \
      --shots 1 2 5 10 20 --draws 20 --queries 20 --out "$out/supports/$method-fold$fold"
    beside+=("$out/supports/$method-fold$fold")
  done
  fsseg supports --ckpt_path "$out/voc/pmms/fold$fold-seed0/last.ckpt" --data.loading.cache_folder "$out/maps" \
    --shots 1 2 5 10 20 --draws 20 --queries 20 --out "$out/supports/pmms-fold$fold" --beside "${beside[@]}"
done
