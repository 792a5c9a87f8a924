"""Any torchvision classification network as encoder (PANet, section 1: any fully convolutional network)."""

import operator
import warnings
from typing import Any

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model, list_models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from fsseg.encoders.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    Frozen,
    batch_norms,
    check_stride,
    check_taps,
    listed,
    nearest,
    stage_names,
)
from fsseg.encoders.dilation import nearest_power_of_two, trade_stride_for_dilation
from fsseg.encoders.weights import load_pretrained
from fsseg.errors import FssegError

# Names in papers' tables, so that results are compared with published numbers.
_IN_PAPERS = {"resnet50": "ResNet50", "resnet101": "ResNet101", "vgg16": "VGG16"}


class Torchvision(Encoder):
    """A torchvision network up to its taps, with dilation instead of strides above ``stride``.

    Args:
        architecture: torchvision's name, e.g. ``resnet18``, ``mobilenet_v2``, ``squeezenet1_0``.
        taps: nodes whose outputs are the feature maps, e.g. ``[layer3]``, in the network's order. A node before a ReLU,
            such as ``layer3.0.add`` or a convolution of VGG16, gives signed features.
        stride: largest stride in pixels per feature cell; deeper layers get dilation instead.
        weights: ``pretrained`` (torchvision's V1 for ImageNet, downloaded on first use), ``none``, or the path of a
            state dict, which may lack tensors that the taps do not need.
        frozen_batch_norm: freeze running statistics and affine weights of BatchNorm in training, because a batch of a
            few episodes is too small for batch statistics.
        frozen: train nothing, or not these layers, such as ``conv1`` and ``layer1``; see `Encoder.freeze`.
        mean: mean of images in 0..1, per channel.
        std: standard deviation of images in 0..1, per channel.

    Raises:
        FssegError: unknown architecture, tap or frozen layer, a stride that is not a power of two, weights that
            do not fit, or a failed download.
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        taps: tuple[str, ...] = ("layer3",),
        stride: int = 8,
        weights: str = "pretrained",
        frozen_batch_norm: bool = True,
        frozen: Frozen = False,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        name = _IN_PAPERS.get(architecture, architecture)
        self.name, self.weights = name if type(self) is Torchvision else self.name, weights
        if not taps:
            raise FssegError("Torchvision: taps []; give at least one node of the network, such as layer3.")
        check_stride("Torchvision", stride)
        model, network = _cut(architecture, taps)
        unused = set(model.state_dict()) - set(network.state_dict())
        load_pretrained(model, architecture, weights, optional=tuple(unused) or ("\0",))
        self.network = network
        features = _probe(network, stride, architecture)
        check_taps(architecture, taps, list(features))
        self.widths = tuple(feature.shape[1] for feature in features.values())
        self.strides = tuple(nearest_power_of_two(256 / feature.shape[-1]) for feature in features.values())
        self.stride = min(self.strides)
        self.running_statistics = frozen_batch_norm
        if frozen_batch_norm:
            for module in batch_norms(network):
                module.requires_grad_(False)
        self.freeze(frozen)

    def features(self, images: Float[Tensor, "M _ H W"]) -> tuple[Float[Tensor, "M _ _ _"], ...]:
        """Feature maps of normalised images, one per tap."""
        return tuple(self.network(images).values())


def _cut(architecture: str, taps: tuple[str, ...]) -> tuple[nn.Module, nn.Module]:
    """A random torchvision network, and the part of it that computes the taps; both share their weights."""
    if architecture not in (known := list_models(module=torchvision.models)):
        near = nearest(architecture, known)
        raise FssegError(
            f"torchvision has no network {architecture}.{near} torchvision.models.list_models() lists all."
        )
    with warnings.catch_warnings():
        # Harmless: googlenet and inception warn of a future initialisation, fx of nodes missing in train mode.
        warnings.simplefilter("ignore")
        model = get_model(architecture, weights=None)
        names = get_graph_node_names(model)[1]
        for tap in taps:
            if not any(name == tap or name.startswith(tap + ".") for name in names):
                outer = stage_names(names)  # in order of execution
                near = nearest(tap, [*outer, *names])
                raise FssegError(f"{architecture} has no node {tap}.{near} Taps begin with: {listed(outer)}.")
        return model, _kept(create_feature_extractor(model, return_nodes={tap: tap for tap in taps}))


def _kept(network: Any) -> nn.Module:
    """The network with its taps copied before an operation that would change them in place, such as most ReLUs."""
    modules = dict(network.named_modules())
    for graph in (network.train_graph, network.eval_graph):
        (output,) = (node for node in graph.nodes if node.op == "output")
        for tap in output.all_input_nodes:
            if any(_writes(node, modules) for node in tap.users):
                with graph.inserting_after(tap):
                    output.replace_input_with(tap, graph.call_method("clone", (tap,)))
    network.recompile()
    return network  # type: ignore[no-any-return]


def _writes(node: Any, modules: dict[str, nn.Module]) -> bool:
    """Whether a node of a graph writes its result into its input."""
    if node.op == "call_module":
        return bool(getattr(modules[node.target], "inplace", False))
    return node.target is operator.iadd or bool(node.kwargs.get("inplace"))


def _probe(network: nn.Module, stride: int, architecture: str) -> dict[str, Tensor]:
    """Set the network's stride, and return the feature maps of a probe image in the network's order."""
    try:
        trade_stride_for_dilation(network, stride)
        with torch.no_grad():
            features: dict[str, Tensor] = network.eval()(torch.zeros(1, 3, 256, 256))
        if any(feature.ndim != 4 for feature in features.values()):
            raise ValueError("a tap gives no feature map")
        if any(feature.shape[2] != feature.shape[3] for feature in features.values()):
            raise ValueError("channels are not the first axis")
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FssegError(f"{architecture} is not fully convolutional at these taps ({reason}); give others.") from error
    network.train()
    return features
