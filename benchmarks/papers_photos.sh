#!/usr/bin/env bash
# The tables of the PANet and PMMs papers in shape, from very short trainings on small sets of real photos: a VOCdevkit's folds 1 to 3, a COCO's 0 to 3.
# benchmarks/papers_photos.sh VOCDEVKIT SQUEEZENET_WEIGHTS COCO RESNET18_WEIGHTS OUT [WORKERS]
set -euo pipefail
voc=$1 squeezenet=$2 coco=$3 resnet18=$4 out=$5 workers=${6:-1}
export OMP_NUM_THREADS=1
short=(--data.loading.workers 0 --data.episodes.val 0 --protocol.runs 2 --protocol.episodes 20 --data.episodes.missing_classes skip)
# A benchmark whose fold has too few photos says which; the others go on.
cross() { fsseg benchmark --workers "$workers" "${@:2}" "${short[@]}" --out "$out/$1" || true; }

panet=(--config benchmarks/photos.yaml --data.root "$voc" --model.method.encoder.weights "$squeezenet" --data.images.size 129
  --trainer.max_steps 30 --folds 1 2 3 --shots 1 5)
cross voc/panet "${panet[@]}"
cross voc/panet "${panet[@]}" --annotations scribble box
cross voc/panet_init "${panet[@]}" --untrained
cross voc/panet_without_par "${panet[@]}" --model.method.align false
cross voc/panet_2way "${panet[@]}" --data.way 2 --data.batch_size 2

encoder=(--model.method.encoder ResNet --model.method.encoder.architecture resnet18 --model.method.encoder.stride_on 3x3
  --model.method.encoder.ceil_mode false --model.method.encoder.batch_norm running --model.method.encoder.weights "$resnet18")
heads=("${encoder[@]}" --model.method.channels 64 --model.method.dropout 0 --model.optimizer torch.optim.AdamW --model.optimizer.lr 1e-4
  --model.lr_scheduler.total_steps 41 --trainer.max_steps 40 --data.images.size 97 --data.images.test_size 97 --data.batch_size 4 --train_shot 1)
on_voc=("${heads[@]}" --data.root "$voc" --folds 1 2 3)
cross voc/canet --config experiments/canet_voc_1shot.yaml "${on_voc[@]}" --shots 1 5
cross voc/pmm --config experiments/pmm_voc_1shot.yaml "${on_voc[@]}" --shots 1 5
cross voc/rpmm --config experiments/rpmm_voc_1shot.yaml "${on_voc[@]}" --shots 1 5
for method in canet pmm rpmm; do
  cross "coco/$method" --config "experiments/${method}_coco_1shot.yaml" "${heads[@]}" --data.root "$coco" --shots 1 5
done
for ablation in k1 k3 gaussian k2 k4 k5; do
  cross "voc/pmm_$ablation" --config experiments/pmm_voc_1shot.yaml --config "experiments/ablations/pmm_$ablation.yaml" "${on_voc[@]}" --shots 1
done
