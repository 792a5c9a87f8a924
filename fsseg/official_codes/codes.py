"""What is known of each authors' code: how its files are recognised and read, and which experiment is theirs."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from fsseg.official_codes import hsnet, panet, pfenet, pmms
from fsseg.official_codes.renaming import Rename
from fsseg.protocols.protocol import Selection

Names = Collection[str]
_ENCODER = "model.method.encoder"


class Code(NamedTuple):
    """Files of an authors' code.

    Attributes:
        paper: name of the method in its paper.
        experiment: experiment whose training is that of the code.
        sign: whether tensors of these names are of such a file.
        renaming: renaming of a file with tensors of these names.
        encoder: options, by name, of the encoder that a file with these names has; none if it holds no encoder.
        selection: which checkpoint the code keeps and tests.
        own: beginnings of our names that files lack, because the code draws these numbers anew.
    """

    paper: str
    experiment: str
    sign: Callable[[Names], bool]
    renaming: Callable[[Names], Rename]
    encoder: Callable[[Names], Mapping[str, str]]
    selection: Selection
    own: tuple[str, ...] = ()


# Layers after the last tap, which stay in files: the classifiers of ImageNet.
UNUSED = ("fc.", "model_res.fc.", "backbone.fc.", "backbone.classifier.")


def _begins(names: Names, *starts: str) -> bool:
    return any(name.startswith(starts) for name in names)


def _resnet(names: Names, layer: str) -> Mapping[str, str]:
    """The option of a ResNet whose third layer has this name: that of ResNet101 has 23 blocks, that of ResNet50 six."""
    if not _begins(names, f"{layer}.0."):
        return {}
    return {f"{_ENCODER}.architecture": "resnet101" if _begins(names, f"{layer}.22.") else "resnet50"}


def _of_pmms(names: Names) -> Rename:
    return pmms.vgg_name if _begins(names, "model_backbone.") else pmms.resnet_name


def _encoder_of_pmms(names: Names) -> Mapping[str, str]:
    if _begins(names, "model_backbone."):
        return {_ENCODER: "DeepLabVGG16"}
    return _resnet(names, "model_res.layer3")


def _encoder_of_hsnet(names: Names) -> Mapping[str, str]:
    if _begins(names, "backbone.features."):
        return {_ENCODER: "vgg16_layers"}
    network = next(iter(_resnet(names, "backbone.layer3").values()), None)
    return {_ENCODER: f"{network}_blocks"} if network else {}


def _is_vgg_of_pfenet(names: Names) -> bool:
    return "layer0.0.bias" in names  # convolutions before BatchNorm have a bias in VGG16 only


def _encoder_of_pfenet(names: Names) -> Mapping[str, str]:
    if _is_vgg_of_pfenet(names):
        return {_ENCODER: "VGG16BN", f"{_ENCODER}.batch_norm": "batch", f"{_ENCODER}.frozen": "true"}
    return _resnet(names, "layer3")


CODES: Mapping[str, Code] = {
    "pmms": Code(
        "PMMs", "pmm_voc_1shot", lambda names: _begins(names, "layer6.layer6_") and _begins(names, "layer55.1."),
        _of_pmms, _encoder_of_pmms, "novel_val", ("mixture.start",),
    ),
    "rpmms": Code(
        "RPMMs", "rpmm_voc_1shot", lambda names: _begins(names, "layer6.layer6_") and not _begins(names, "layer55.1."),
        _of_pmms, _encoder_of_pmms, "novel_val", ("mixtures.",),
    ),
    "panet": Code(
        "PANet", "panet_voc_1shot", lambda names: _begins(names, "encoder.backbone.features.", "encoder.features."),
        lambda names: panet.rename, lambda names: {}, "last",
    ),
    "canet": Code(
        "CANet", "canet_voc_1shot", lambda names: _begins(names, "layer6_"), lambda names: pmms.canet_name,
        lambda names: _resnet(names, "layer3"), "novel_val",
    ),
    "hsnet": Code(
        "HSNet", "hsnet_voc_1shot", lambda names: _begins(names, "hpn_learner."), lambda names: hsnet.rename,
        _encoder_of_hsnet, "novel_val",
    ),
    "pfenet": Code(
        "PFENet", "pfenet_voc_1shot", lambda names: _begins(names, "init_merge.", "alpha_conv."),
        lambda names: pfenet.renaming(_is_vgg_of_pfenet(names)), _encoder_of_pfenet, "novel_val",
    ),
}  # fmt: skip


def code_of(names: Names) -> str | None:
    """Name of the code whose files have tensors of such names; None if none has."""
    return next((name for name, code in CODES.items() if code.sign(names)), None)
