#!/usr/bin/env bash
# The tables of the PANet and PMMs papers in shape, from short trainings on the built-in shapes: all folds, 1 and 5 shots, minutes a method.
# benchmarks/papers.sh OUT [WORKERS]; stopped and started again it goes on where it was.
set -euo pipefail
out=$1 workers=${2:-1}
export OMP_NUM_THREADS=1
common=(--data.dataset.size 64 --data.images.size 64 --data.episodes.val 50 --data.loading.test_batch_size 8 --data.loading.workers 0
  --protocol.runs 2 --protocol.episodes 100)
panet=(--config experiments/panet_shapes_1shot.yaml "${common[@]}" --trainer.max_steps 300 --model.lr_scheduler.total_steps 301)
cross() { fsseg benchmark --workers "$workers" "${@:2}" --out "$out/$1"; }

cross panet "${panet[@]}" --shots 1 5 --seeds 0 1
cross panet "${panet[@]}" --shots 1 5 --annotations scribble box
cross panet_init "${panet[@]}" --shots 1 5 --untrained
cross panet_without_par "${panet[@]}" --model.method.align false --shots 1 5
cross panet_2way "${panet[@]}" --data.way 2 --data.batch_size 4 --shots 1 5
cross sgone "${panet[@]}" --model.method SGOne --shots 1 5 --train_shot 1
heads() { # name, base experiment, other files and options
  cross "$1" --config "experiments/$2.yaml" "${@:3}" "${common[@]}" --trainer.max_steps 300 --model.lr_scheduler.total_steps 301 --train_shot 1
}
heads canet canet_shapes_1shot --shots 1 5
heads pmm pmm_shapes_1shot --shots 1 5
heads rpmm rpmm_shapes_1shot --shots 1 5
for ablation in k1 k2 k3 k4 k5 gaussian; do # k3 is PMMs+ itself
  heads "pmm_$ablation" pmm_shapes_1shot --config "experiments/ablations/pmm_$ablation.yaml" --shots 1
done
