"""FG-BG: a segmenter of foreground against background that never sees the supports (PANet, section 4.1).

The network is `fgbg` of the code of co-FCN's authors: FCN-32s with a classifier that starts at zero. Its answer is the
same for every way and shot; with several ways, a pixel of the foreground gets the first way.

The code trains it with every base class as foreground: `data.images.foreground` base. Otherwise an episode's foreground
is its class alone.
"""

from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, State, named
from fsseg.methods.binary import BinaryMethod, WayMaps


class FGBG(BinaryMethod):
    """The map of an image, classified as foreground or background.

    Args:
        encoder: image encoder; the code uses `FCN32` with ``fc7``.
        loss_mean: see `fsseg.losses.cross_entropy`.
    """

    support_gradient = False  # the supports do not matter
    fine_tuned = "Fine-tuning"

    def __init__(self, encoder: Encoder, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder, loss_mean)
        self.name = named(self, FGBG, "FG-BG", {})
        self.classify = nn.Conv2d(encoder.channels, 2, 1)
        for parameter in self.classify.parameters():
            nn.init.zeros_(parameter)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """A zero for each way, ``M 1``: the supports tell nothing."""
        return (0 * foreground[:, 0, 0, :1],)

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of the classifier."""
        return [self.classify(query[0])]
