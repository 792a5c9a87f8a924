"""Names of PFENet's code (model/PFENet.py). Its files hold the frozen encoder too, whose BatchNorm has drifted."""

import re

from fsseg.official_codes.renaming import Rename, by_prefix

head_name = by_prefix(
    {"cls.": "classify.", "down_query.": "down_query.", "down_supp.": "down_support.", "res1.": "fuse.",
     "res2.": "refine.", "init_merge.": "enrich.merge.", "beta_conv.": "enrich.beta.", "alpha_conv.": "enrich.alpha.",
     "inner_cls.": "classify_bins."}
)  # fmt: skip
_STEM = {f"layer0.{n}.": f"conv1.{n}." for n in (0, 1, 3, 4, 6)} | {"layer0.7.": "bn1."}
_FIRST = (0, 7, 14, 24, 34)  # torchvision's number of the first layer of each slice of vgg16_bn


def resnet_encoder_name(official: str) -> str | None:
    """Our name of a tensor of the deep-stem ResNet, within the encoder."""
    start = next((each for each in _STEM if official.startswith(each)), "")
    name = _STEM[start] + official.removeprefix(start) if start else official
    return f"network.{name}" if re.match(r"layer[0-4]\.", official) else None


def vgg_encoder_name(official: str) -> str | None:
    """Our name of a tensor of VGG16, whose layers are numbered slice by slice, within the encoder."""
    found = re.fullmatch(r"layer([0-4])\.(\d+)\.(\w+)", official)
    return f"network.features.{_FIRST[int(found[1])] + int(found[2])}.{found[3]}" if found else None


def renaming(vgg: bool) -> Rename:
    """The renaming of all tensors of a file on VGG16, or on a ResNet."""
    encoder_name = vgg_encoder_name if vgg else resnet_encoder_name

    def rename(official: str) -> str | None:
        name = encoder_name(official)
        return f"encoder.{name}" if name else head_name(official)

    return rename
