"""What a precision does to mean-IoU: trained in 32 bits and in mixed ones, each tested in both, on the same episodes.

OMP_NUM_THREADS=1 python benchmarks/precision.py OUT [--steps 300] [--episodes 300] [--data.root DIR --weights FILE ...]

On the built-in data PANet and RPMMs are trained. With a VOCdevkit and state dicts of torchvision's mobilenet_v2 or
squeezenet1_0 PANet is tested on photos without training. 16-mixed needs a GPU; a CPU takes bf16-mixed in its place.
What OUT holds already is not done again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TAPS = {"mobilenet_v2": ["features.13"], "squeezenet1_0": ["features.12"]}  # node whose output is the feature


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--episodes", type=int, default=300, help="of each of three runs on the built-in data")
    parser.add_argument("--data.root", dest="root", help="VOCdevkit")
    parser.add_argument("--weights", nargs="*", default=[], help="state dicts whose names begin with the network's")
    parser.add_argument("--folds", nargs="*", default=["1", "2", "3"])
    parser.add_argument("--size", default="321")
    parser.add_argument("--photos", type=int, default=120, help="episodes of each of two runs on photos")
    parser.add_argument("--precisions", nargs=2, default=["32-true", "bf16-mixed"])
    parser.add_argument("--trained-in", nargs="*", default=["32-true", "bf16-mixed"])
    parser.add_argument("--experiments", nargs="*", default=["panet_shapes_1shot", "rpmm_shapes_1shot"])
    given = parser.parse_args()
    print(f"| what | fold | trained in | {' | '.join(f'tested in {p}' for p in given.precisions)} | difference |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for experiment in given.experiments:
        for precision in given.trained_in:
            trained(given, experiment, precision)
    for weights in map(Path, given.weights):
        network = next((name for name in TAPS if weights.name.startswith(name.partition("1")[0])), None)
        if network is None:
            sys.exit(f"{weights}: its name begins with none of {', '.join(TAPS)}")
        for fold in given.folds:
            photos(given, network, weights, fold)


def trained(given: argparse.Namespace, experiment: str, precision: str) -> None:
    """A line of a training on built-in data."""
    run = given.out / f"{experiment}-{precision}"
    schedule = ["--trainer.max_steps", str(given.steps), "--model.lr_scheduler.total_steps", str(given.steps)]
    options = ["--config", f"experiments/{experiment}.yaml", "--trainer.precision", precision, *schedule]
    fsseg("fit", *options, "--data.episodes.val", "0", "--out", str(run), "--resume")
    test = ["--ckpt_path", str(run / "last.ckpt"), "--protocol.runs", "3", "--protocol.episodes", str(given.episodes)]
    line(given, experiment, "0", precision, run, test)


def photos(given: argparse.Namespace, network: str, weights: Path, fold: str) -> None:
    """A line without training, on photos."""
    options = [
        "--config", "experiments/panet_voc_1shot.yaml", "--untrained", "--data.root", given.root, "--data.fold", fold,
        "--data.images.size", given.size, "--data.episodes.missing_classes", "skip", "--protocol.runs", "2",
        "--protocol.episodes", str(given.photos), "--model.method.encoder", "Torchvision",
        "--model.method.encoder.architecture", network, "--model.method.encoder.taps", json.dumps(TAPS[network]),
        "--model.method.encoder.weights", str(weights),
    ]  # fmt: skip
    if network == "mobilenet_v2":
        half = "[0.5,0.5,0.5]"
        options += ["--model.method.encoder.mean", half, "--model.method.encoder.std", half]
    line(given, f"PANet-init, {network}", fold, "-", given.out / f"{network}-fold{fold}", options)


def line(given: argparse.Namespace, what: str, fold: str, precision: str, folder: Path, options: list[str]) -> None:
    """Test in each precision, and print."""
    means = []
    for tested in given.precisions:
        out = folder / f"test-{tested}"
        fsseg("test", *options, "--trainer.precision", tested, "--out", str(out), "--resume")
        means.append(json.loads((out / "table.json").read_text())["mean_iou"])
    cells = [f"{score['mean']:.2f} +- {score['std']:.2f}" for score in means]
    print(
        f"| {what} | {fold} | {precision} | {' | '.join(cells)} | {means[1]['mean'] - means[0]['mean']:+.2f} |",
        flush=True,
    )


def fsseg(*arguments: Any) -> None:
    ran = subprocess.run([sys.executable, "-m", "fsseg", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(ran.stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
