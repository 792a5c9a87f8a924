"""PL and A-MCG, of which no official code exists: their parts against brute force and torch's LSTM."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from fsseg.encoders import VGG16, ConvNet, ResNet
from fsseg.errors import FssegError
from fsseg.methods import AMCG, PL
from fsseg.ops.feature_maps import concatenated
from tests.conftest import make_batch

close = torch.testing.assert_close


def encoder() -> ConvNet:
    return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)


@cache
def pl() -> PL:
    torch.manual_seed(0)
    return PL(encoder(), metric_weight=0.5)


def masked(method: PL, image: Tensor, region: Tensor) -> Tensor:
    """The mean feature of an image in which all but a region has the mean colour."""
    colour = (255 * method.encoder.mean).expand_as(image)
    return concatenated(method.support_encoder(torch.where(region, image, colour)[None])).mean((2, 3))[0]


def prototypes(method: PL, image: Tensor, mask: Tensor) -> Tensor:
    """Of background and ways, ``L C``, for images ``N K 3 H W``."""
    ways = range(len(mask))
    own = [torch.stack([masked(method, i, m == n + 1) for i, m in zip(image[n], mask[n], strict=True)]) for n in ways]
    other = [masked(method, i, (m != n + 1) & (m != 255)) for n in ways for i, m in zip(image[n], mask[n], strict=True)]
    return torch.stack([torch.stack(other).mean(0), *(one.mean(0) for one in own)])


def test_pl_scores_the_sum_of_a_cell_and_a_prototype_less_their_mean() -> None:
    method, batch = pl(), make_batch(way=2, shot=2, size=24)
    with torch.no_grad():
        found = method.predict(
            method.state(method.features(batch).support, batch.support_mask), method.features(batch).query
        )
        means = prototypes(method, batch.support_image[0], batch.support_mask[0])
        cells = concatenated(method.encoder(batch.query_image[0]))
        each = [method.score((cells + (mean - means.mean(0))[:, None, None]).relu())[:, 0] for mean in means]
    close(found[0], torch.stack(each, dim=1))


def test_pl_tells_the_cells_of_an_encoder_that_ends_with_relu_apart() -> None:
    method, cells = pl(), torch.rand(1, 1, 16, 4, 4)
    with torch.no_grad():
        found = method.predict((torch.rand(1, 1, 1, 16), torch.rand(1, 1, 1, 16)), (cells,))
    assert (found[0, 0, 1] - found[0, 0, 0]).std() > 0.01


def test_pl_learns_prototypes_from_whole_images() -> None:
    method, batch = pl(), make_batch(way=2, shot=2, query=2, size=24)
    batch = batch._replace(query_mask=batch.query_mask.clone())
    batch.query_mask[0, 0][batch.query_mask[0, 0] == 2] = 0  # the first query shows way 1 alone
    with torch.no_grad():
        loss = method.loss(batch)
        means = prototypes(method, batch.support_image[0], batch.support_mask[0])
        each = []
        for query, way in ((0, 1), (1, 1), (1, 2)):
            own = masked(method, batch.query_image[0, query], batch.query_mask[0, query] == way)
            each.append(-torch.log_softmax(-(own - means).square().sum(1), 0)[way])
        nothing = method.loss(batch._replace(query_mask=batch.query_mask * 0))
    close(loss["metric"], torch.stack(each).mean())
    close(loss["loss"], loss["segmentation"] + 0.5 * loss["metric"])
    assert nothing["metric"] == 0


def test_the_memory_of_amcg_is_an_lstm() -> None:
    """On maps of one cell, where a 3x3 convolution is a matrix: against torch's cell."""
    torch.manual_seed(0)
    method, maps = AMCG(encoder(), channels=8), torch.randn(3, 4, 8, 1, 1)
    cell = nn.LSTMCell(8, 8)
    enter, keep, leave, change = method.memory.weight[..., 1, 1].chunk(4)
    weight = torch.cat([enter, keep, change, leave])
    bias = torch.cat([method.memory.bias.chunk(4)[i] for i in (0, 1, 3, 2)])  # type: ignore[union-attr]
    with torch.no_grad():
        for name, value in (
            ("weight_ih", weight[:, :8]),
            ("weight_hh", weight[:, 8:]),
            ("bias_ih", bias),
            ("bias_hh", 0 * bias),
        ):
            getattr(cell, name).copy_(value)
        state = (torch.zeros(3, 8), torch.zeros(3, 8))
        for shot in maps.unbind(1):
            state = cell(shot[..., 0, 0], state)
        close(method._remembered(maps)[..., 0, 0], state[0])


def test_amcg_sees_the_smallest_object_first() -> None:
    torch.manual_seed(0)
    method, maps = AMCG(encoder(), channels=8), (torch.randn(1, 3, 8, 8, 8), torch.randn(1, 3, 16, 4, 4))
    mask = torch.zeros(1, 3, 16, 16)
    for shot, side in enumerate((6, 2, 4)):
        mask[0, shot, :side, :side] = 1
    with torch.no_grad():
        fine, hidden = method.adapt_way(maps, mask, 1 - mask)
        close(fine, maps[0].mean(1))
        narrow = torch.stack([method.narrow(maps[1][:, k]).relu() for k in (1, 2, 0)], dim=1)
        close(hidden, method._remembered(narrow))


@pytest.mark.slow
def test_sizes_of_the_networks() -> None:
    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    vgg = VGG16(weights="none")
    assert size(PL(vgg)) == 2 * size(vgg) + 512
    resnet = ResNet(taps=("layer1", "layer2", "layer3", "layer4"), weights="none")
    assert size(AMCG(resnet)) - 2 * size(resnet) == 9_703_683


@pytest.mark.parametrize(("make", "text"), [
    (lambda: PL(encoder(), metric_weight=-1.0), "PL: metric_weight -1; a weight of at least 0"),
    (lambda: AMCG(encoder(), channels=0), "AMCG: channels 0; at least 1"),
])  # fmt: skip
def test_bad_options_are_refused(make: object, text: str) -> None:
    with pytest.raises(FssegError, match=text):
        make()  # type: ignore[operator]
