"""Names of the code of PMMs and RPMMs (networks/FPMMs.py, FRPMMs.py), and of CANet's, whose head is theirs."""

import re

from fsseg.official_codes.renaming import by_prefix

# Prefixes of the heads; CANet's ASPP is inline.
HEAD = {
    "layer5.": "reduce.",
    "layer55.0.": "match.convolution.",
    "layer55.1.": "match.ending.0.",
    "layer56.": "refine.",
    "layer7.": "decoder.fuse.",
    "layer9.": "decoder.classify.",
    **{f"residule{i + 1}.": f"decoder.residual.{i}.layers." for i in range(3)},
    **{f"{within}layer6_0.": "decoder.aspp.mean." for within in ("", "layer6.")},
    **{f"{within}layer6_{i + 1}.": f"decoder.aspp.branches.{i}." for within in ("", "layer6.") for i in range(4)},
}
_LAYERS = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")  # of CANet's encoder, which has no prefix

head_name = by_prefix(HEAD)
resnet_name = by_prefix(HEAD | {"model_res.": "encoder.network."})
canet_name = by_prefix(HEAD | {name: f"encoder.network.{name}" for name in _LAYERS})


def deeplab_vgg(official: str, prefix: str = "") -> str | None:
    """Our name, behind a prefix, of a tensor of the VGG16, whose layers are numbered block by block."""
    name = official.removeprefix("model_backbone.")
    if name.startswith("cls.0."):
        return prefix + name.replace("cls.0", "extra")
    found = re.fullmatch(r"features_([1-5])\.(\d+)\.(\w+)", name)
    if found is None:
        return None
    first = (0, 5, 10, 17, 24)[int(found[1]) - 1]  # torchvision's number of the block's first convolution
    return f"{prefix}features.{first + int(found[2])}.{found[3]}"


def vgg_name(official: str) -> str | None:
    """Our name of a tensor of PMMs or RPMMs on VGG16."""
    return deeplab_vgg(official, "encoder.network.") or head_name(official)
