"""`fsseg check` on own classes in the working folder: each fault is named by the check that is about it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ENVIRONMENT

METHODS = """
import torch

from fsseg.encoders import Encoder
from fsseg.methods import BinaryMethod, Method
from fsseg.ops.pooling import masked_average_pool
from fsseg.ops.similarity import cosine_similarity


class Margin(BinaryMethod):
    def __init__(self, encoder: Encoder, scale: float = 20):
        super().__init__(encoder)
        self.scale = scale

    def adapt_way(self, support, foreground, background):
        return tuple(masked_average_pool(support[0], mask).mean(1) for mask in (background, foreground))

    def stages(self, state, query):
        return [self.scale * cosine_similarity(query[0], torch.stack(state, dim=1))]


class FirstShot(Margin):
    def adapt_way(self, support, foreground, background):
        return tuple(masked_average_pool(support[0], mask)[:, 0] for mask in (background, foreground))


class NoTuple(Margin):
    def adapt_way(self, support, foreground, background):
        return super().adapt_way(support, foreground, background)[0]


class ForegroundOnly(Margin):
    def stages(self, state, query):
        return [super().stages(state, query)[0][:, 1:]]


class NoBackground(Margin):
    def predict(self, state, query):
        return super().predict(state, query)[:, :, 1:]


class FirstWay(Margin):
    def predict(self, state, query):
        logits = super().predict(state, query)
        return logits[:, :, :2].repeat(1, 1, logits.shape[2], 1, 1)[:, :, : logits.shape[2]]


class Mixed(Margin):
    def predict(self, state, query):
        logits = super().predict(state, query)
        return logits - logits.mean(1, keepdim=True) / 2


class Dropped(Margin):
    def stages(self, state, query):
        return [torch.nn.functional.dropout(super().stages(state, query)[0])]


class Unused(Margin):
    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.head = torch.nn.Linear(3, 3)


class Listed(Margin):
    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.layers = [torch.nn.Conv2d(64, 64, 1)]

    def neck(self, maps):
        return (self.layers[0](maps[0]),)


class Encoded(Margin):
    def encode(self, images):
        return tuple(one.relu() for one in super().encode(images))


class Divided(Margin):
    def adapt_way(self, support, foreground, background):
        state = super().adapt_way(support, foreground, background)
        return tuple(part / mask.amax((1, 2, 3))[:, None] for part, mask in zip(state, (background, foreground)))


class OverBatch(Margin):
    def adapt_way(self, support, foreground, background):
        return tuple(part - part.mean(0) / 2 for part in super().adapt_way(support, foreground, background))


class PerShot(Margin):
    state_per = "shot"

    def adapt_way(self, support, foreground, background):
        state = super().adapt_way(support, foreground, background)
        return tuple(part.unsqueeze(1).expand(-1, support[0].shape[1], -1) for part in state)

    def stages(self, state, query):
        return super().stages(tuple(part.mean(1) for part in state), query)


class Above(Margin):
    def adapt(self, support, mask):
        return super().adapt(support, (mask > 0).to(mask.dtype) * torch.arange(1, mask.shape[1] + 1).view(-1, 1, 1, 1))


class Writes(Margin):
    def adapt(self, support, mask):
        mask[mask == 255] = 0
        return super().adapt(support, mask)


class Narrow(Margin):
    def losses(self, features, batch):
        return {"loss": super().losses(features, batch)["loss"].to(torch.get_autocast_dtype("cpu"))}


class Raises(Margin):
    def stages(self, state, query):
        return [torch.stack(state, dim=1) @ query[0]]


class Unnamed(Margin):
    def losses(self, features, batch):
        return {"ce": super().losses(features, batch)["loss"]}


class Options(Margin):
    inference_options = frozenset({"sclae"})


class Half(Method):
    def adapt(self, support, mask):
        return ()


class Built(Margin):
    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.head = torch.nn.Linear(3)


class Bare(Margin):
    def __init__(self, encoder):
        super().__init__(encoder)


class Thing:
    pass
"""
ENCODERS = """
import torch
from torch import nn

from fsseg.encoders import Encoder


class TwoScales(Encoder):
    widths = (16, 32)
    stride = 2

    def __init__(self, width: int = 16, frozen: bool | tuple[str, ...] = False):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, 32, 3, stride=2, padding=1)
        self.freeze(frozen)

    def features(self, images):
        fine = self.first(images)
        return fine, self.second(fine.relu())


class Coarse(TwoScales):
    stride = 8


class Reversed(TwoScales):
    widths = (32, 16)

    def features(self, images):
        return super().features(images)[::-1]


class Alone(TwoScales):
    widths = (32,)

    def features(self, images):
        return super().features(images)[1]


class Whitened(TwoScales):
    def features(self, images):
        return super().features(images - images.mean(0))


class Thawed(TwoScales):
    def __init__(self, frozen: bool = False):
        super().__init__()


class Noisy(TwoScales):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)

    def features(self, images):
        maps = super().features(images)
        return tuple(one + torch.randn_like(one) for one in maps) if self.training else maps


class Head(TwoScales):
    def __init__(self, frozen: bool = False):
        super().__init__()
        self.head = nn.Linear(32, 10)
        self.freeze(frozen)


class Multiples(TwoScales):
    def features(self, images):
        if images.shape[-1] % 2:
            raise ValueError("sides must be even")
        return super().features(images)
"""
DATASETS = """
import numpy as np

from fsseg.datasets import Dataset
from fsseg.datasets.base import Index, count_pixels
from fsseg.errors import FssegError


class Blobs(Dataset):
    class_names = tuple(f"noise {i}" for i in range(1, 13))
    folds = 3
    needs_root = False

    def __init__(self, side: int = 32):
        self.side = side

    def open(self, root):
        self.index = Index(np.stack([count_pixels(self.mask(i), 12) for i in range(96)]))

    def numbers(self, split):
        return range(48) if split == "train" else range(48, 96)

    def image_name(self, number):
        return f"blob-{number}"

    def image(self, number):
        return np.full((self.side, self.side, 3), number, dtype=np.uint8)

    def mask(self, number):
        return np.pad(np.full((8, 8), number % 12 + 1, dtype=np.uint8), (self.side - 8) // 2)


class FiveFolds(Blobs):
    folds = 5


class Overlapping(Blobs):
    def numbers(self, split):
        return range(49) if split == "train" else range(48, 96)


class Named(Blobs):
    def image_name(self, number):
        return f"blob-{number % 90}"


class Twice(Blobs):
    class_names = ("noise",) * 12


class Sizes(Blobs):
    def image(self, number):
        return super().image(number)[1:]


class Floats(Blobs):
    def image(self, number):
        return super().image(number) / 255


class Unknown(Blobs):
    def mask(self, number):
        return np.pad(np.full((8, 8), 13 if number == 95 else 1, dtype=np.uint8), 12)

    def open(self, root):
        self.index = Index(np.zeros((96, 13), dtype=np.int32))


class Miscounted(Blobs):
    def open(self, root):
        super().open(root)
        self.index.pixels[:, 1:] = np.roll(self.index.pixels[:, 1:], 1, axis=0)


class Shared(Blobs):
    def open(self, root):
        self._mask = np.pad(np.ones((8, 8), dtype=np.uint8), 12)
        super().open(root)

    def mask(self, number):
        return self._mask


class Refuses(Blobs):
    needs_root = True

    def open(self, root):
        raise FssegError(f"`data.root` {root} has no file list.txt.")


class Checked(Blobs):
    def check(self, number):
        raise OSError(f"image {number} is broken")
"""
FAULTS = {
    "Margin": None,
    "FirstShot": "order of supports: logits change when the supports of a way change places",
    "NoTuple": "state: `adapt_way` returns a Tensor; a tuple of tensors is needed",
    "ForegroundOnly": "state: `stages` returns 1 1 6 6; a list of logits M 2 h w is needed",
    "NoBackground": "logits, 1-way 1-shot: logits of shape 2 1 1 24 24; 2 1 2 24 24 (B Q 1+N H W) is needed",
    "FirstWay": "order of ways: logits do not change places with the ways",
    "Mixed": "queries: logits of a query depend on the other queries of its episode",
    "Dropped": "same logits in each call: logits change from call to call in eval mode",
    "Unused": "gradients: no gradient reaches head.weight, head.bias. Use them, remove them",
    "Listed": "state dict: outputs differ after the state dict of one object was loaded into another",
    "Encoded": "features: `encode` returns other maps than tests use",
    "Divided": "empty masks: a support mask with background only gives the loss nan",
    "OverBatch": "batch of episodes: logits of an episode depend on the other episodes of the batch",
    "PerShot": "parts of the state: state_per is 'shot', but the part of a support depends on another support",
    "Above": "ignored pixels: support pixels of label 255 count as the class",
    "Writes": "input unchanged: the method writes into batch.support_mask",
    "Narrow": "mixed precision: the loss in mixed precision (trainer.precision bf16-mixed): torch.bfloat16",
    "Raises": "state: RuntimeError: Expected size for first two dimensions",
    "Unnamed": "loss: `losses` returns ce; the entry `loss` is needed",
    "Options": "names: inference_options names sclae, which the constructor does not take",
    "TwoScales": None,
    "TwoScales --width 8": "maps: maps have (8, 32) channels, `widths` is (16, 32)",
    "Coarse": "stride: the finest map of 56x40 pixels has 28x20 cells, but `stride` is 8",
    "Reversed": "maps: maps 2 32 10 14, 2 16 20 28 for images of 56x40 pixels are not fine to coarse",
    "Alone": "maps: `features` returns a Tensor; a tuple of maps is needed",
    "Whitened": "each image on its own: features of an image depend on the other images of the batch",
    "Thawed": "frozen: frozen=True still trains first.weight, first.bias, second.weight and 1 more",
    "Noisy": "fixed: a frozen encoder computes other features in training than in eval mode",
    "Head": "gradients: no gradient reaches head.weight, head.bias",
    "Multiples": "maps: ValueError: sides must be even (broken.py, line ",
    "Blobs": None,
    "Blobs --side 40": None,
    "FiveFolds": "folds: classes [11, 12] are novel in no fold: 12 classes, 5 folds. Set `folds` to a divisor",
    "Overlapping": "splits: image 48 is in both splits",
    "Named": "splits: 6 images have the name of another image",
    "Twice": "class names: class name ['noise'] stands for several classes",
    "Sizes": "images and masks: image blob-0 is 32x31, its mask 32x32. Replace one",
    "Floats": "images and masks: image blob-0 is float64 of shape (32, 32, 3); uint8 of shape (H, W, 3) is needed",
    "Unknown": "images and masks: the mask of blob-95 holds [13]; class ids 1 to 12, 0 (background) and 255",
    "Miscounted": "index: image blob-0 shows 64 pixels of noise 1, the index has 0. Count masks with count_pixels",
    "Shared": "reading twice: mask of image 0 is another array after the caller changed an earlier one",
    "Refuses --root .": "open: --root . has no file list.txt.",
    "Checked": "files: OSError: image 0 is broken (broken.py, line ",
}
REFUSED = {
    "broken.Half": "broken.Half cannot be built, because it lacks losses, predict.",
    "broken.Built": "broken.Built cannot be built: TypeError: Linear.__init__() missing 1 required",
    "broken.Bare": "Annotate encoder: Encoder in the constructor (from fsseg.encoders import Encoder).",
    "broken.Thing": "broken.Thing is no method, encoder or data set. Derive it from fsseg.methods.Method",
    "broken.Margn": "module broken has no class Margn. Did you mean Margin? It has: Margin, FirstShot",
    "broken.Refuses": "broken.Refuses needs --root DIR (or FSSEG_DATA_ROOT), the data set's folder.",
    "broken.Refuses --root none": "--root none: no such folder.",
    "broken.Margin --scal 3": "no option --scal. Did you mean --scale?",
    "broken.Margin --scale wide": "--scale wide: a number is needed.",
    "nowhere.Margin": "nowhere.Margin cannot be imported: No module named 'nowhere'.",
    "syntax.Margin": "syntax.Margin cannot be imported: SyntaxError: ",
    "Margn": "no class Margn. Your own: MODULE.CLASS, e.g. mine.Margin in mine.py.",
    "PANt": "no class PANt. Did you mean PANet?",
    "./broken.py": "./broken.py: MODULE.CLASS is needed, e.g. mine.Margin for the class Margin in mine.py.",
    "--scale 3": "check needs a class first: fsseg check mine.Margin --scale 10.",
}
RUNS = """
import sys
sys.path.remove("")
from fsseg.cli import main
for words in sys.argv[1:]:
    print(f"<{words}>", flush=True)
    print(f"code {main(['check', *words.split()])}", flush=True)
"""


def ran(folder: Path, *commands: str) -> dict[str, str]:
    """Output of each command, all in one process without the tests' checks of types, which would refuse first."""
    (folder / "broken.py").write_text(METHODS + ENCODERS + DATASETS)
    (folder / "syntax.py").write_text("class Margin(:\n")
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "FSSEG_DATA_ROOT"}
    process = subprocess.run(
        [sys.executable, "-c", RUNS, *commands],
        cwd=folder, env=environment | {"COLUMNS": "80"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-3000:]
    parts = re.split(r"^<(.*)>\n", process.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_class_of_fsseg_passes(fsseg) -> None:
    found = fsseg("check", "Shapes", "--size", "32", "--train", "40", "--val", "40")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("Shapes: data set\n\n  ok      open\n")
    assert found.out.endswith("\n9 checks passed\n")


def test_an_encoder_of_a_method_is_chosen(fsseg) -> None:
    found = fsseg("check", "PANet", "--encoder", "ConvNet", "--encoder.widths=[8]", "--encoder.strides=[4]")
    assert found.code == 0, found.out
    assert found.out.startswith("PANet: method, with ConvNet of random weights\n")


@pytest.mark.slow
def test_each_fault_is_named_by_its_check(tmp_path: Path) -> None:
    found = ran(tmp_path, *(f"broken.{words}" for words in FAULTS))
    for words, problem in FAULTS.items():
        text = found[f"broken.{words}"]
        failed = [line.removeprefix("  FAILED  ") for line in text.splitlines() if line.startswith("  FAILED")]
        if problem is None:
            assert not failed, text
            assert re.search(r"^\d+ checks passed\ncode 0$", text, re.MULTILINE), text
        else:
            assert failed, words
            assert any(line.startswith(problem) for line in failed), text
            assert re.search(rf"^{len(failed)} of \d+ checks failed.*\ncode 1$", text, re.MULTILINE), text
            assert len(failed) == (2 if words == "OverBatch" else 1), text


@pytest.mark.slow
def test_what_cannot_be_checked_is_one_line(tmp_path: Path) -> None:
    found = ran(tmp_path, *REFUSED)
    for words, problem in REFUSED.items():
        line, code = found[words].splitlines()
        assert line.startswith("fsseg: ")
        assert problem in line
        assert code == "code 2"
