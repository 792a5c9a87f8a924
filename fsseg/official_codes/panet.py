"""Names of PANet's code (models/vgg.py, models/fewshot.py): VGG16's blocks are numbered, and layers within a block."""

import re

_FIRST = {"0": 0, "2": 5, "4": 10, "6": 17, "8": 24}  # torchvision's number of each block's first convolution
_NAME = re.compile(r"encoder\.(?:backbone\.)?features\.([02468])\.(\d+)\.(\w+)")


def rename(official: str) -> str | None:
    """Our name of a tensor."""
    found = _NAME.fullmatch(official)
    if found is None:
        return None
    return f"encoder.network.features.{_FIRST[found[1]] + int(found[2])}.{found[3]}"
