"""A method in a file of its own, with one YAML, has all that methods of the package have."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fsseg.cli import main
from fsseg.segmenter import Segmenter

METHOD = '''
import torch

from fsseg.encoders import Encoder
from fsseg.losses import cross_entropy
from fsseg.methods import Method
from fsseg.ops.feature_maps import at_finest
from fsseg.ops.pooling import masked_average_pool
from fsseg.ops.similarity import cosine_similarity


class Pyramid(Method):
    """Cosine similarity at two feature maps; supports are encoded with their masks, and adapted to by gradients."""

    adapt_gradient = True

    def __init__(self, encoder: Encoder, steps: int = 2, bias: bool = True) -> None:
        super().__init__(encoder)
        self.steps, self.bias = steps, bias
        self.scale = torch.nn.Parameter(torch.tensor(5.0))

    def encode(self, images):
        (feature,) = self.encoder(images)
        return feature, torch.nn.functional.avg_pool2d(feature, 2)

    def encode_support(self, images, masks):
        return self.encode(torch.where(masks.unsqueeze(1) == 255, 0, images))

    def adapt(self, support, mask):
        ways = torch.arange(mask.shape[1] + 1).view(-1, 1, 1, 1, 1, 1)
        region = (mask == ways).float()
        share = region.flatten(-2).sum(-1, keepdim=True)
        state = []
        for one in support:
            mean = masked_average_pool(one.float().expand(len(ways), *one.shape), region) * share
            prototype = (mean.sum((2, 3)) / share.sum((2, 3)).clamp(min=1)).transpose(0, 1)
            shift = torch.zeros_like(prototype, requires_grad=True)
            for _ in range(self.steps):
                (slope,) = torch.autograd.grad((prototype + shift).square().mean(), shift, create_graph=self.training)
                shift = shift - 0.1 * slope
            state.append(prototype + shift)
        return tuple(state)

    def predict(self, state, query):
        each = [cosine_similarity(one.float(), part.unsqueeze(1)) for one, part in zip(query, state, strict=True)]
        flat = at_finest([one.flatten(0, 1) for one in each])
        return self.scale * sum(flat).unflatten(0, each[0].shape[:2]) + (1e-3 if self.bias else 0.0)

    def losses(self, features, batch):
        support, query = features
        logits = self.predict(self.adapt(support, batch.support_mask), query)
        size = tuple(batch.query_mask.shape[-2:])
        return {"loss": cross_entropy(self.to_pixels(logits, size), batch.query_mask)}
'''
YAML = """
model:
  method:
    class_path: added_method.pyramid.Pyramid
    init_args:
      encoder: {class_path: ConvNet, init_args: {widths: [8, 8], strides: [2, 2]}}
data:
  dataset: {class_path: Shapes, init_args: {size: 32, train: 60, val: 60}}
  images: {size: 32}
  episodes: {train: 8, val: 2}
  loading: {workers: 0}
protocol: {runs: 1, episodes: 6}
trainer: {max_steps: 2, enable_progress_bar: false}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "added_method").mkdir()
    (tmp_path / "added_method" / "pyramid.py").write_text(METHOD)
    (tmp_path / "pyramid_shapes.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FSSEG_TRUST", "added_method")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_it_is_trained_tested_and_segments(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "pyramid_shapes.yaml", "--out", "run"]) == 0
    assert main(["test", "--ckpt_path", "run/last.ckpt"]) == 0
    assert "Pyramid" in capsys.readouterr().out
    segmenter = Segmenter.load("run/last.ckpt", "cpu")
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[5:20, 5:30] = 1
    segmenter.learn([image, image[::-1].copy()], [mask, mask[::-1].copy()], "a")
    segmenter.learn(image, mask.T.copy(), "b")
    found = segmenter.predict(image)
    assert found.probability is not None
    assert np.isfinite(found.probability).all()
    segmenter.save("pyramid.fsseg")
    again = Segmenter.load("pyramid.fsseg", "cpu").predict(image)
    np.testing.assert_array_equal(again.mask, found.mask)


def test_it_passes_its_checks(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--encoder.widths=[8,8]", "--encoder.strides=[2,2]", "--bias", "false"]
    assert main(["check", "added_method.pyramid.Pyramid", *options]) == 0, capsys.readouterr()


@pytest.mark.slow
def test_it_is_refused_by_export_in_one_line(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state that gradients make is no graph."""
    assert main(["fit", "--config", "pyramid_shapes.yaml", "--out", "run"]) == 0
    capsys.readouterr()
    code = main(["export", "--ckpt_path", "run/last.ckpt", "--to", "torch"])
    assert (code, capsys.readouterr().err.count("\n")) == (2, 1)


@pytest.mark.slow
def test_the_contract_tests_find_it(package: Path) -> None:
    """All of them: the same file that tests the package's own methods, in a process of its own."""
    root = Path(__file__).parents[2]
    contract = root / "tests" / "methods" / "test_contract.py"
    paths = os.pathsep.join([str(package), str(root)])
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(contract)],
        env=os.environ | {"FSSEG_TEST_METHODS": "added_method.pyramid", "PYTHONPATH": paths},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-3000:]
    assert "passed" in process.stdout
