"""Names of HSNet's code (model/hsnet.py, model/learner.py). Its files hold the frozen encoder too."""

_PARTS = {
    "encoder_layer4to3": "mix.0", "encoder_layer3to2": "mix.1", "encoder_layer4": "squeeze.0",
    "encoder_layer3": "squeeze.1", "encoder_layer2": "squeeze.2", "decoder1": "decode.0", "decoder2": "decode.1",
}  # fmt: skip
_PLANES = {"conv1": "query", "conv2": "support"}  # of a centre-pivot convolution
_ENCODER, _LEARNER = "backbone.", "hpn_learner."


def rename(official: str) -> str | None:
    """Our name of a tensor; names of the learner may lack ``hpn_learner.``."""
    if official.startswith(_ENCODER):
        return official.replace(_ENCODER, "encoder.network.", 1)
    part, *rest = official.removeprefix(_LEARNER).split(".")
    return ".".join([_PARTS[part], *(_PLANES.get(name, name) for name in rest)]) if part in _PARTS else None
