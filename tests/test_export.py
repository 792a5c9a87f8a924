"""Exported graphs beside the method itself, read by what knows nothing of fsseg."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import numpy as np
import PIL.Image
import pytest
import torch

from fsseg import Segmenter
from fsseg.cli import main
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.export import check_packages, export
from fsseg.export.export import Difference, _compared
from fsseg.methods import CANet, Method, PANet, PFENet, PMMs, RPMMs, SGOne
from fsseg.ops.em import Mixture
from tests.conftest import needs

PAGE = Path(__file__).parents[1] / "docs/export.md"
SIZE = 64
FILES = {"onnx": ".onnx", "torch": ".pt2"}
MOST = 1e-5  # of the largest value; 1.8e-6 was measured for ONNX Runtime, 6.9e-7 for torch.export


@pytest.fixture(autouse=True, scope="module")
def _unchecked_shapes() -> Iterator[None]:
    """Sizes are symbols while a graph is traced, and no int; the checks are of the tests alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def make(name: str) -> Method:
    torch.manual_seed(0)
    encoder, small = ConvNet((8, 16), (2, 2), 1), {"channels": 16}
    return {
        "PANet": lambda: PANet(encoder),
        "PMMs": lambda: PMMs(encoder, mixture=Mixture(rounds=2), **small),
        "RPMMs": lambda: RPMMs(encoder, components=(1, 3), mixture=Mixture(rounds=2), **small),
        "SGOne union": lambda: SGOne(encoder, fusion="union", guidance=16, channels=8),
        "SGOne": lambda: SGOne(encoder, guidance=16, channels=8),
        "CANet": lambda: CANet(encoder, iterations=1, **small),
        "PFENet": lambda: PFENet(encoder, (12.0, 5.0), **small),
    }[name]()


class Made(NamedTuple):
    segmenter: Segmenter
    folder: Path


# Of these classes were learnt before: what is traced has sizes of its own, whatever was learnt.
LEARNT = (("PANet", "torch"), ("RPMMs", "onnx"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, _unchecked_shapes: None) -> Callable[[str, str], Made]:
    """A method's graphs, made once for all tests; of a segmenter that has learnt, by the command line."""

    @cache
    def made(name: str, kind: str) -> Made:
        if kind == "onnx":
            needs("onnxruntime", "export")
        segmenter = Segmenter(make(name), SIZE, device="cpu")
        folder = tmp_path_factory.mktemp(f"{name}-{kind}") / "export"
        if (name, kind) not in LEARNT:
            folder.mkdir()
            export(segmenter, folder, kind)
            return Made(segmenter, folder)
        pictures, mask = pictures_and_mask()
        segmenter.learn(list(pictures[:1]), [mask], "one")
        segmenter.learn(list(pictures[1:3]), [mask, mask.T.copy()], "two")
        segmenter.reject([pictures[3]], [mask])
        file = folder.with_name("learnt.fsseg")
        segmenter.save(file)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert main(["export", "--ckpt_path", str(file), "--to", kind]) == 0
        lines = said.getvalue().splitlines()
        assert f"{segmenter.method.name} in {folder}, largest differences" in lines[0]
        assert lines[-1] == "  and export.json, state.npz"
        return Made(segmenter, folder)

    return made


def pictures_and_mask() -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[10:40, 8:50] = 1
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8), mask


def opened(folder: Path, name: str, kind: str) -> Callable:
    """A graph of a file, called with flat arrays in order; a tuple of arrays."""
    content = json.loads((folder / "export.json").read_text())["graphs"][name]
    assert content["file"] == name + FILES[kind]
    if kind == "onnx":
        session = needs("onnxruntime", "export").InferenceSession(folder / content["file"])
        names = [value.name for value in session.get_inputs()]
        assert names == [port["name"] for port in content["inputs"]]
        return lambda *given: session.run(None, dict(zip(names, given, strict=True)))
    module = torch.export.load(folder / content["file"]).module()
    names = [port["name"] for port in content["inputs"]]

    def run(*given):
        """Tuples of maps and the state are arguments of their own, the others follow."""
        named = dict(zip(names, map(torch.from_numpy, given), strict=True))
        parts = [tuple(named[n] for n in names if n.startswith(kind)) for kind in ("state_", "support_feat", "query_f")]
        plain = [named[n] for n in names if n in ("images", "support_mask", "size")]
        with torch.no_grad():
            found = module(*[part for part in parts if part], *plain)
        return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]

    return run


def relative(found: np.ndarray, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted.numpy()).max() / wanted.abs().max())


def images_and_masks(way: int, shot: int, queries: int, height: int, width: int):
    random = np.random.default_rng(way)
    images = random.integers(0, 256, (way * shot + queries, 3, height, width), dtype=np.uint8)
    masks = random.integers(0, way + 1, (way, shot, height // 8, width // 8), dtype=np.uint8)
    masks[:, :, 0, :2] = 255
    masks[:, :, -1] = np.arange(1, way + 1, dtype=np.uint8)[:, None, None]
    return images, masks.repeat(8, 2).repeat(8, 3)


def check_chain(method: Method, folder: Path, kind: str, way: int, shot: int, queries: int, side: tuple[int, int]):
    """Encoder, learner and matcher in a row are the method's own answer, whatever the sizes."""
    images, masks = images_and_masks(way, shot, queries, *side)
    size = (side[0] + 9, side[1] - 4)
    encoder, learner, matcher = (opened(folder, name, kind) for name in ("encoder", "learner", "matcher"))
    maps = encoder(images)
    support = [one[: way * shot].reshape(way, shot, *one.shape[1:]) for one in maps]
    state = learner(*support, masks)
    found = matcher(*state, *[one[way * shot :] for one in maps], np.array(size))[0]
    with torch.no_grad():
        wanted_maps = method.encode(torch.from_numpy(images))
        own = tuple(one[: way * shot].unflatten(0, (way, shot))[None] for one in wanted_maps)
        wanted_state = method.adapt(own, torch.from_numpy(masks)[None])
        query = tuple(one[None, way * shot :] for one in wanted_maps)
        wanted = method.segment(wanted_state, query, size)[0]
    for one, other in zip(maps, wanted_maps, strict=True):
        assert relative(one, other) < MOST
    for one, other in zip(state, wanted_state, strict=True):
        assert relative(one, other[0]) < MOST
    assert relative(found, wanted) < MOST


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PMMs", "onnx"),  # RPMMs has all of it
        *((name, kind) for name in ("PANet", "RPMMs", "PFENet") for kind in FILES),
    ],
)
def test_graphs_are_the_method_at_any_way_shot_and_size(name, kind, exported):
    segmenter, folder = exported(name, kind)
    graphs = json.loads((folder / "export.json").read_text())["graphs"].values()
    assert [one["fixed"] for one in graphs] == [[]] * 3
    assert all(one["largest_difference"]["relative"] < MOST for one in graphs)
    check_chain(segmenter.method, folder, kind, way=1, shot=1, queries=1, side=(SIZE, SIZE))
    check_chain(segmenter.method, folder, kind, way=1, shot=3, queries=4, side=(104, 48))
    check_chain(segmenter.method, folder, kind, way=3, shot=2, queries=1, side=(40, 88))
    assert b"fsseg/" not in b"".join(path.read_bytes() for path in folder.iterdir())  # no path of whoever made it


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fixed"), [("SGOne", set()), ("SGOne union", {"shot"}), ("CANet", {"shot"})])
def test_what_cannot_be_dynamic_has_the_size_that_was_asked_for(name, fixed, tmp_path):
    needs("onnxruntime", "export")
    segmenter = Segmenter(make(name), SIZE, device="cpu")
    written = export(segmenter, tmp_path, "onnx", way=2, shot=3)
    assert [set(one.graph.fixed) for one in written] == [set(), set(), fixed]
    check_chain(segmenter.method, tmp_path, "onnx", way=1, shot=3, queries=2, side=(104, 48))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), LEARNT)
def test_what_was_learnt_segments_without_a_learner(name, kind, exported):
    segmenter, folder = exported(name, kind)
    pictures, _ = pictures_and_mask()
    content = json.loads((folder / "export.json").read_text())
    assert content["classes"] == ["one", "two", None]
    with np.load(folder / content["state"], allow_pickle=False) as stored:
        learnt = dict(stored)
    feature = opened(folder, "encoder", kind)(pictures[4:].transpose(0, 3, 1, 2).copy())[0]
    learnt |= {"query_feature": feature, "size": np.array([SIZE, SIZE])}
    given = [learnt[port["name"]] for port in content["graphs"]["matcher"]["inputs"]]
    logits = torch.from_numpy(opened(folder, "matcher", kind)(*given)[0][0])
    probability = logits.softmax(0)[1:3].numpy()
    np.testing.assert_allclose(probability, segmenter.predict(pictures[4]).probability[1:], atol=1e-5)


def test_a_graph_that_differs_is_refused():
    wanted = [torch.tensor([1.0, 100.0])]
    near = _compared("matcher.onnx", lambda _: [torch.tensor([1.05, 100.0])], (), wanted, Difference())
    assert near == pytest.approx((0.05, 0.0005), rel=1e-4)
    for found in (torch.tensor([1.5, 100.0]), torch.tensor([1.0, torch.nan]), torch.tensor([1.0])):
        with pytest.raises(FssegError, match=r"matcher.onnx differs from the method by .* 0.001 is allowed"):
            _compared("matcher.onnx", lambda _, found=found: [found], (), wanted, Difference())
    with pytest.raises(FssegError, match=r"matcher.onnx does not run on .*no such axis"):
        _compared("matcher.onnx", lambda _: exec('raise ValueError("no such axis")'), (), wanted, Difference())


@pytest.mark.slow
def test_a_method_that_decides_by_values_is_refused(tmp_path):
    class Deciding(PANet):
        def encode(self, images):
            (feature,) = super().encode(images)
            return (feature if feature.max() > 0 else -feature,)

    with pytest.raises(FssegError, match="the encoder of Deciding cannot be traced"):
        export(Segmenter(Deciding(ConvNet((8,), (4,), 1)), SIZE, device="cpu"), tmp_path, "torch")


def test_packages_that_are_missing_are_named(monkeypatch):
    for name in ("onnxscript", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    check_packages("torch")
    with pytest.raises(FssegError, match=re.escape('and onnxruntime, not installed: pip install "fsseg[export]"')):
        check_packages("onnx")


def test_sizes_that_make_no_sense_are_refused(tmp_path):
    segmenter = Segmenter(make("PANet"), SIZE, device="cpu")
    with pytest.raises(FssegError, match="`shot` 0: at least 1 is needed"):
        export(segmenter, tmp_path, "torch", shot=0)
    with pytest.raises(FssegError, match="size 8: at least 32 is needed"):
        export(segmenter, tmp_path, "torch", size=8)
    segmenter.learn(np.full((SIZE, SIZE, 3), 9, dtype=np.uint8), np.eye(SIZE, dtype=np.uint8))
    with pytest.raises(FssegError, match="size 96: the classes of the segmenter have size 64"):
        export(segmenter, tmp_path, "torch", size=96)


# What stands before the page's code: neither is there for whoever has the files alone.
_ALONE = "import sys\nsys.modules['fsseg'] = sys.modules['torch'] = None\n"


@pytest.mark.slow
def test_the_code_of_the_page_segments_without_fsseg(exported, tmp_path):
    random = np.random.default_rng(0)
    segmenter = Segmenter(make("PANet"), SIZE, device="cpu")
    shutil.copytree(exported("PANet", "onnx").folder, tmp_path / "export")
    mask = np.zeros((90, 120), dtype=np.uint8)
    mask[30:70, 20:80] = 255
    for name in ("cat.png", "photo.png"):
        picture = random.integers(0, 120, (90, 120, 3), dtype=np.uint8)
        picture[mask > 0] += np.array([130, 60, 0], dtype=np.uint8)
        PIL.Image.fromarray(picture).save(tmp_path / name)
    PIL.Image.fromarray(mask).save(tmp_path / "cat_mask.png")
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)[1]
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE + code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    segmenter.learn(tmp_path / "cat.png", tmp_path / "cat_mask.png")
    found = np.asarray(PIL.Image.open(tmp_path / "photo_mask.png"))
    wanted = segmenter.segment(tmp_path / "photo.png")
    assert 0 < wanted.mean() < 1
    assert (found == 255 * wanted).mean() > 0.999
