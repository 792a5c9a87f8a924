"""The deep stem of PSPNet's and PFENet's ResNets: three 3x3 convolutions in place of the 7x7 convolution.

The first layer gets 128 channels, so that torchvision's weights fit neither the stem nor the first block. PFENet's code
loads ``initmodel/resnet50_v2.pth`` (from the authors of PSPNet's PyTorch code), which fits. Tensors have the names of
timm's ``resnet50s``, the same network; timm's ImageNet weights of it (``gluon_in1k``) are another training.
"""

import logging

from torch import nn

from fsseg.encoders.timm import made
from fsseg.encoders.weights import State, are_needed, load_state, read_state, without_prefix
from fsseg.errors import FssegError

_log = logging.getLogger(__name__)
_CHANNELS = (64, 64, 128)  # of the stem's convolutions
# Prefixes of the authors' names (model/resnet.py), and of ours.
_NAMES = {"conv1.": "conv1.0.", "bn1.": "conv1.1.", "conv2.": "conv1.3.", "bn2.": "conv1.4.", "conv3.": "conv1.6.",
          "bn3.": "bn1."}  # fmt: skip


def add_deep_stem(model: nn.Module) -> None:
    """Replace the stem of a random ResNet of torchvision with bottlenecks, and what follows from it."""
    layers: list[nn.Module] = []
    for width, channels in zip((3, *_CHANNELS), _CHANNELS, strict=False):
        layers += [
            _convolution(width, channels, 3, 1 if layers else 2),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
    model.conv1, model.bn1 = nn.Sequential(*layers[:-2]), layers[-2]
    first = model.get_submodule("layer1.0")
    for parent, name in ((first, "conv1"), (first.get_submodule("downsample"), "0")):
        channels = len(parent.get_submodule(name).get_parameter("weight"))
        setattr(parent, name, _convolution(_CHANNELS[-1], channels, 1, 1))


def _convolution(width: int, channels: int, kernel: int, stride: int) -> nn.Conv2d:
    made = nn.Conv2d(width, channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's other convolutions
    return made


def load_deep(model: nn.Module, architecture: str, weights: str, optional: tuple[str, ...] = ()) -> None:
    """Load pretrained weights into a ResNet with a deep stem.

    Args:
        model: the network.
        architecture: torchvision's name of the architecture without the deep stem, e.g. ``resnet50``.
        weights: ``pretrained`` (timm's, downloaded on first use), ``none``, or the path of a state dict with timm's
            names or those of PFENet's authors.
        optional: see `fsseg.encoders.weights.load_state`.

    Raises:
        FssegError: the download fails, the file does not exist or is no state dict, or its tensors do not fit, as
            torchvision's.
    """
    if not are_needed(weights):
        return
    name = f"{architecture}s"
    state = _download(f"{name}.gluon_in1k") if weights == "pretrained" else read_state(weights, name)
    state = without_prefix(state, [each for each in model.state_dict() if not each.startswith(optional)], weights)
    stem = state.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[-1] == 7:
        raise FssegError(
            f"weights {weights} have a stem of one 7x7 convolution, as torchvision's; with deep_stem it has three 3x3 "
            f"convolutions. Give a file of timm's {name} or of PFENet's authors (resnet50_v2.pth), or deep_stem false."
        )
    if stem is not None:
        state = {_renamed(each): value for each, value in state.items()}
    load_state(model, state, f"{name} (a ResNet with a deep stem)", weights, optional)


def _renamed(name: str) -> str:
    start = next((each for each in _NAMES if name.startswith(each)), "")
    return _NAMES[start] + name.removeprefix(start) if start else name


def _download(architecture: str) -> State:
    _log.warning(
        "the ResNet with a deep stem starts from timm's weights of %s, not from those of PFENet's authors",
        architecture,
        extra={"of_each_process": True},  # see `fsseg.cli`: the first process prints the line
    )
    state: State = made(architecture, downloaded=True).state_dict()
    return state
