import pytest
import torch

from fsseg.encoders import ConvNet


@pytest.mark.parametrize(("widths", "strides", "stride"), [((8, 16), (2, 2), 4), ((8,), (1,), 1)])
def test_channels_and_stride_are_those_of_its_features(
    widths: tuple[int, ...], strides: tuple[int, ...], stride: int
) -> None:
    encoder = ConvNet(widths, strides)
    (feature,) = encoder(torch.zeros(2, 3, 32, 24, dtype=torch.uint8))
    assert (encoder.channels, encoder.stride) == (widths[-1], stride)
    assert encoder.widths == (widths[-1],)  # one tap
    assert feature.shape == (2, widths[-1], 32 // stride, 24 // stride)


def test_an_image_is_encoded_on_its_own() -> None:
    encoder = ConvNet((8, 16), (2, 1))
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(encoder(images)[0][1:2], encoder(images[1:2])[0])


def test_normalisation_is_no_part_of_the_state() -> None:
    assert not {"mean", "std"} & set(ConvNet((8,), (1,)).state_dict())
