#!/usr/bin/env bash
# Tables on photographs of VOC (folds 1 to 3) and COCO (folds 0 to 3): heads that are trained on one frozen encoder, and its prototypes without training.
# benchmarks/photographs.sh VOCDEVKIT COCO ENCODER WEIGHTS OUT [WORKERS] [SEEDS]        the same command resumes; about 30 minutes a training on one core
set -euo pipefail
voc=$1 coco=$2 encoder=$3 weights=$4 out=$5 workers=${6:-2} seeds=${7:-"0 1 2"}
export OMP_NUM_THREADS=1
here=$(dirname "$0")/photographs
network=(--model.method.encoder "$encoder" --model.method.encoder.frozen true --model.method.encoder.weights "$weights")
plus=(--model.method.p_conv false --model.method.components)

study() { # SET ROOT FOLDS NAME METHOD [OPTION...]
  # shellcheck disable=SC2086 - numbers of folds and seeds are words
  fsseg benchmark --config "$here/$1.yaml" --config "$here/$5.yaml" --data.root "$2" "${network[@]}" --folds $3 --shots 1 5 --train_shot 1 \
    --workers "$workers" --out "$out/$1/$4" "${@:6}" || echo "photographs: $1/$4 is not complete" >&2
}

for seed in $seeds; do
  for set in voc coco; do
    if [ $set = voc ]; then root=$voc folds="1 2 3"; else root=$coco folds="0 1 2 3"; fi
    [ "$seed" = "${seeds%% *}" ] && study $set "$root" "$folds" panet_init panet --untrained
    study $set "$root" "$folds" canet canet --seeds "$seed"
    study $set "$root" "$folds" pmms pmms --seeds "$seed"
    study $set "$root" "$folds" pmms_plus_k1 pmms --seeds "$seed" "${plus[@]}" 1
    study $set "$root" "$folds" pmms_plus pmms --seeds "$seed" "${plus[@]}" 3
    study $set "$root" "$folds" pmms_plus_k5 pmms --seeds "$seed" "${plus[@]}" 5
    study $set "$root" "$folds" pmms_gaussian pmms --seeds "$seed" --model.method.mixture.kernel gaussian
    study $set "$root" "$folds" rpmms rpmms --seeds "$seed"
    study $set "$root" "$folds" sgone sgone --seeds "$seed"
  done
done
fsseg table "$out"/voc/* --out "$out/voc"
fsseg table "$out"/coco/* --out "$out/coco"
