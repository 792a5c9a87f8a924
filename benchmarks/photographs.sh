#!/usr/bin/env bash
# Tables on photographs of VOC (folds 1 to 3) and COCO (folds 0 to 3). The same command resumes; a training takes 5 to 20 minutes of one core, and all of them with three seeds about 35 hours of two.
#   warm      experiments/rpmm_coco_5shot.yaml on COCO, started from a head that was trained on VOC's photographs
#   frozen    heads trained on one frozen encoder, beside its prototypes without training (PANet-init)
#   compared  the other systems of the papers' tables on the same encoder, frozen, 1,000 or 2,000 steps; fine-tuning is FG-BG tuned on the supports
#             CANet with iterations, and with attention over five shots; and PL, whose two encoders are trained: ResNet18 (the file of RESNET18, if it is given) beside its prototypes
#   later     PFENet on the same frozen encoder, and HSNet on blocks of a frozen MobileNetV2 (the file of MOBILENET_V2, if it is given) beside its prototypes
#   panet     PANet trained end to end with the paper's SGD, beside its start
#   vgg16     PANet-init with VGG16 at 417x417: masks, scribbles and boxes, protocols fsseg and panet
# benchmarks/photographs.sh VOCDEVKIT COCO EFFICIENTNET_LITE0 SQUEEZENET VGG16 OUT [WORKERS] [SEEDS] [PARTS]        the three weights are files
# ONLY="voc/pmms voc/rpmms" benchmarks/photographs.sh ... runs some of them
set -euo pipefail
voc=$1 coco=$2 efficientnet=$3 squeezenet=$4 vgg16=$5 out=$6 workers=${7:-2} parts=${9:-"frozen warm compared later panet vgg16"}
read -ra seeds <<< "${8:-0 1 2}"
export OMP_NUM_THREADS=1
here=$(dirname "$0")/photographs

cached=(--model.method.encoder.frozen true --data.loading.cache_folder "$out/maps")
lite0=(--model.method.encoder efficientnet_lite0 --model.method.encoder.weights "$efficientnet" "${cached[@]}")

chosen() { # SET/NAME
  [[ -z ${ONLY:-} || " $ONLY " == *" $1 "* ]]
}

benchmark() { # NAME SET METHOD ENCODER WEIGHTS [OPTION...]
  chosen "$2/$1" || return 0
  if [ "$2" = voc ]; then root=$voc folds=(1 2 3); else root=$coco folds=(0 1 2 3); fi
  fsseg benchmark --config "$here/$2.yaml" --config "$here/$3.yaml" --data.root "$root" --model.method.encoder "$4" \
    --model.method.encoder.weights "$5" --folds "${folds[@]}" --workers "$workers" --out "$out/$2/$1" "${@:6}" || echo "photographs: $2/$1 is not complete" >&2
}

frozen() { # SET NAME METHOD [OPTION...]
  benchmark "$2" "$1" "$3" efficientnet_lite0 "$efficientnet" "${cached[@]}" --shots 1 5 --train_shot 1 "${@:4}"
}

# VOC's names of the novel classes of each COCO fold, among the classes with 20 train images or more
novel=(person,dog,chair,diningtable bicycle,bus,horse,sofa car,train,bird,sheep,pottedplant,tvmonitor motorbike,cat,cow,bottle)

warm() { # NAME [OPTION...]: a head of VOC's other classes for each fold, 3,000 steps; then the experiment's 1,000 steps on COCO
  chosen "coco/$1" || return 0
  for seed in "${seeds[@]}"; do
    for fold in 0 1 2 3; do
      fsseg fit --config "$here/voc.yaml" --config "$here/rpmms.yaml" --data.root "$voc" --data.fold 0 --data.episodes.exclude "[${novel[$fold]}]" "${lite0[@]}" \
        --seed_everything "$seed" --trainer.max_steps 3000 --model.lr_scheduler.total_steps 3001 --out "$out/warm/fold$fold-seed$seed" --resume
    done
    fsseg benchmark --config "$here/../../experiments/rpmm_coco_5shot.yaml" --config "$here/coco.yaml" --config "$here/warm.yaml" --data.root "$coco" "${lite0[@]}" \
      --model.weights "$out/warm/fold{fold}-seed{seed}/last.ckpt" --folds 0 1 2 3 --shots 1 5 --train_shot 1 --seeds "$seed" --workers "$workers" \
      --out "$out/coco/$1" "${@:2}" || echo "photographs: coco/$1 is not complete" >&2
  done
}

compared() { # METHOD [OPTION...]: the experts of FWB and the steps of fine-tuning are of tests, so that their trainings are the same
  frozen voc "$1" "$1" --trainer.max_steps 2000 --model.lr_scheduler.total_steps 2001 --seeds "${seeds[@]}" "${@:2}"
}

again() { # NAME OF SHOTS [OPTION...]: the trainings of OF, tested with other options
  chosen "voc/$1" || return 0
  for seed in "${seeds[@]}"; do
    for fold in 1 2 3; do
      for shot in $3; do
        to="$out/voc/$1/fold$fold-seed$seed/test-${shot}shot"
        [ -s "$to/table.json" ] || fsseg test --ckpt_path "$out/voc/$2/fold$fold-seed$seed/last.ckpt" --data.test_shot "$shot" --out "$to" --resume "${@:4}" ||
          echo "photographs: $to is not complete" >&2
      done
    done
  done
}

bf16=(--model.channels_last true --trainer.precision bf16-mixed)
half=(--trainer.max_steps 1000 --model.lr_scheduler.total_steps 1001 --model.channels_last true)
plus=(--model.method.p_conv false --model.method.components)
for part in $parts; do
  if [ "$part" = warm ]; then
    warm rpmms_warm
    warm rpmms_warm_best --protocol.selection base_val # tests the step that is best on base classes of held-out photographs
  fi
  for set in voc coco; do
    case $part in
      frozen)
        frozen $set panet_init panet --untrained
        for seed in "${seeds[@]}"; do
          frozen $set canet canet --seeds "$seed"
          frozen $set pmms pmms --seeds "$seed"
          frozen $set rpmms rpmms --seeds "$seed"
          frozen $set pmms_plus pmms --seeds "$seed" "${plus[@]}" 3
          frozen $set sgone sgone --seeds "$seed"
          frozen $set pmms_plus_k1 pmms --seeds "$seed" "${plus[@]}" 1
          frozen $set pmms_plus_k5 pmms --seeds "$seed" "${plus[@]}" 5
          frozen $set pmms_gaussian pmms --seeds "$seed" --model.method.mixture.kernel gaussian
        done
        ;;
      compared)
        [ $set = voc ] || continue
        compared fgbg
        compared guided
        # Its loss starts near 16, since hashing adds up random weights.
        compared oslsm --model.optimizer.lr 2e-3 "${bf16[@]}"
        compared cofcn "${half[@]}"
        compared fwb --model.method.encoder.taps '[1, 3]'
        again fwb_truth fwb 1 --model.method.vote truth
        again finetune fgbg '1 5' --model.adapt_steps 10
        compared amcg --model.method.encoder.taps '[1, 2, 3]' "${half[@]}" --trainer.precision bf16-mixed
        frozen voc canet_iterations canet --seeds "${seeds[@]}" --model.method.iterations 4
        # One shot teaches no attention over shots.
        frozen voc canet_attention canet --seeds "${seeds[@]}" --model.method.iterations 4 --model.method.fusion attention --shots 5 --train_shot 5 "${bf16[@]}"
        [ -n "${RESNET18:-}" ] || continue
        benchmark panet_resnet18_init voc panet resnet18 "$RESNET18" "${cached[@]}" --untrained --shots 1 5
        # A softmax of sums of squared distances is 0 or above 20: a weight of 1 would hide the loss of the masks.
        benchmark pl voc pl resnet18 "$RESNET18" --shots 1 5 --train_shot 1 --seeds "${seeds[@]}" "${half[@]}" --trainer.precision bf16-mixed \
          --model.method.metric_weight 0.01 --model.optimizer.lr 5e-5 --model.head_lr 10 --data.episodes.train 1000 --data.episodes.val 100
        ;;
      later)
        [ $set = voc ] || continue
        frozen voc pfenet pfenet --seeds "${seeds[@]}" --model.method.encoder.taps '[2, 3, 4]' "${bf16[@]}"
        [ -n "${MOBILENET_V2:-}" ] || continue
        benchmark panet_mobilenet_init voc panet mobilenet_v2 "$MOBILENET_V2" "${cached[@]}" --untrained --shots 1 5
        blocks=features.7$(printf ',features.%s' {8..17}) # at strides 16 and 32, so that correlations are as coarse as the maps of the other heads
        benchmark hsnet voc hsnet mobilenet_v2 "$MOBILENET_V2" "${cached[@]}" --shots 1 5 --train_shot 1 --seeds "${seeds[@]}" \
          --model.method.encoder.taps "[$blocks]" --model.method.encoder.stride 32 --model.optimizer.lr 1e-3 "${bf16[@]}" \
          --trainer.max_steps 4000 --model.lr_scheduler.total_steps 4001
        ;;
      panet)
        [ $set = voc ] || continue
        benchmark panet_squeezenet_init voc panet_trained squeezenet1_0 "$squeezenet" --shots 1 5 --untrained
        benchmark panet_squeezenet voc panet_trained squeezenet1_0 "$squeezenet" --shots 1 5 --train_shot 1 --seeds "${seeds[@]}"
        ;;
      vgg16)
        [ $set = voc ] || continue
        for protocol in fsseg panet; do
          benchmark "vgg16_$protocol" voc panet vgg16 "$vgg16" --untrained --shots 1 5 --annotations mask scribble box --protocol.name $protocol \
            --protocol.runs 5 --protocol.episodes 200 --data.images.size 417 "${cached[@]}"
        done
        ;;
    esac
  done
done
fsseg table "$out"/voc/* --out "$out/voc.md"
fsseg table "$out"/coco/* --out "$out/coco.md"
