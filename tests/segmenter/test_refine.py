import numpy as np
import PIL.Image
import torch

from fsseg.encoders import ConvNet
from fsseg.methods import PANet
from fsseg.segmenter import Segmenter


def test_a_segmenter_refines_and_a_file_keeps_it(tmp_path):
    rows, columns = np.mgrid[:96, :128]
    disc = (rows - 48) ** 2 + (columns - 60) ** 2 < 30**2
    image = np.where(disc[..., None], (200, 40, 40), (30, 60, 90)).astype(np.uint8)
    torch.manual_seed(0)
    method = PANet(ConvNet(widths=(16, 32), strides=(4, 4)))
    ious = {}
    for refine in (False, True):
        segmenter = Segmenter(method, size=96, device="cpu", refine=refine)
        segmenter.learn(image, disc)
        found = segmenter.segment(PIL.Image.fromarray(image)) == 1
        ious[refine] = (found & disc).sum() / (found | disc).sum()
        segmenter.save(tmp_path / "disc.fsseg")
        assert Segmenter.load(tmp_path / "disc.fsseg", "cpu").refine is refine
    assert ious[True] > ious[False] + 0.05


def test_a_thorough_segmenter_means_the_logits_of_its_views():
    generator = np.random.default_rng(0)
    image, mask = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8), np.zeros((48, 64), dtype=np.uint8)
    mask[10:30, 20:50] = 1
    torch.manual_seed(0)
    method = PANet(ConvNet(widths=(8, 16), strides=(4, 4)))
    thorough = Segmenter(method, 64, "square", "cpu", thorough=True)
    thorough.learn(image, mask)
    query = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    every = []
    for size in (64, 90):
        plain = Segmenter(method, 64, device="cpu")
        plain.learn(image, mask)
        plain.canvas = plain.canvas._replace(size=size)
        plain.features.canvas = plain.canvas
        for view in (query, query[:, ::-1].copy()):
            found = plain.predict(view).probability
            margin = np.log(found[1]) - np.log(found[0])
            every.append(margin if view is query else margin[:, ::-1])
    found = thorough.predict(query).probability
    np.testing.assert_allclose(np.log(found[1]) - np.log(found[0]), np.mean(every, axis=0), atol=1e-4)


def test_tiles_are_mirrored_only():
    method = PANet(ConvNet(widths=(8, 16), strides=(4, 4)))
    segmenter = Segmenter(method, 64, "tile", "cpu", thorough=True)
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    segmenter.learn(image, image[..., 0] > 128)
    assert segmenter.segment(image).shape == (70, 90)
