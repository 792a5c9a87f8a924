"""A tuned method equals its parts computed by hand, and supports are left out as a plain loop leaves them out."""

import numpy as np
import PIL.Image
import pytest
import torch

import fsseg
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.methods import AMCG, KernelDensityRatio, PANet, PMMs
from fsseg.ops.logistic import fit_logistic
from fsseg.ops.pooling import adjoint_weights
from fsseg.segmenter import tuning
from fsseg.segmenter.support_state import logits
from fsseg.segmenter.tuned import Tuned
from fsseg.segmenter.tuning import Labelled, best, candidates, held_out, use
from tests.segmenter.test_segmenter import picture, square

SIZE = 64


def scene(random: np.random.Generator, colour: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A square of one colour on noise, and its mask."""
    image, mask = picture(random), square(top=int(random.integers(2, 36)), left=int(random.integers(2, 36)))
    image[mask == 1] = np.roll([230, 30, 30], colour)
    return image, mask


@pytest.fixture
def supports() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    return [scene(random) for _ in range(4)]


def made(kind: type) -> fsseg.Segmenter:
    torch.manual_seed(0)
    method = kind(ConvNet((8, 8), (2, 2)))
    return fsseg.Segmenter(method, size=SIZE, device="cpu")


@pytest.mark.parametrize("kind", [KernelDensityRatio, PANet])
def test_logits_are_those_of_the_method_plus_the_head(kind, supports):
    """One class: the head is fitted here on cells that are sorted by hand."""
    plain = made(kind)
    plain.learn(*zip(*supports[:3], strict=True))
    tuned = fsseg.Segmenter(Tuned(plain.method, decay=0.3), size=SIZE, device="cpu")
    tuned.learn(*zip(*supports[:3], strict=True))
    query = supports[3][0]

    def cells(image: np.ndarray) -> torch.Tensor:
        one = plain.feature(image)[0].clone()
        padded = torch.nn.functional.pad(one, (1, 1, 1, 1), value=torch.nan)
        around = torch.nanmean(padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3), dim=3)
        both = [part / part.norm(dim=0).clamp(min=1e-12) for part in (one, around)]
        return 10 * torch.cat(both).flatten(1).T  # cells, channels

    sample = torch.cat([cells(image) for image, _ in supports[:3]])
    masks = torch.stack([torch.from_numpy(mask) for _, mask in supports[:3]])
    side = plain.feature(query)[0].shape[-1]
    weight = torch.stack([adjoint_weights((masks == v).float(), (side, side)).flatten() for v in (1, 0)], 1)
    coefficients, intercept = fit_logistic(sample, weight, 0.3)
    head = (cells(query) @ coefficients + intercept).view(1, 1, side, side)
    wanted = torch.nn.functional.interpolate(head, (SIZE, SIZE), mode="bilinear")[0, 0]
    feature, size = plain.feature(query), (SIZE, SIZE)
    both = [logits(s.method, s.known[0].states, feature, size, size) for s in (plain, tuned)]
    (before, after) = (each[1] - each[0] for each in both)
    torch.testing.assert_close(after - before, wanted, atol=1e-3, rtol=1e-3)


def labelled(segmenter: fsseg.Segmenter, folder, supports, classes=("red",)) -> list[Labelled]:
    found = []
    for i, (image, mask) in enumerate(supports):
        path = folder / f"{i}.png"
        PIL.Image.fromarray(image).save(path)
        number = segmenter.learn(path, mask, list(classes))[0]
        found.append(Labelled(number, path, mask, tuple(classes)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KernelDensityRatio, PANet, PMMs])
def test_supports_are_left_out_as_in_a_plain_loop(kind, supports, tmp_path):
    segmenter = made(kind)
    truth = labelled(segmenter, tmp_path, supports)
    segmenter.reject(picture(np.random.default_rng(1)))
    for name, method in candidates(segmenter.method).items():
        use(segmenter, method)
        found = held_out(segmenter, truth)
        wanted = []
        for i, (image, mask) in enumerate(supports):
            other = fsseg.Segmenter(method, size=SIZE, device="cpu")
            for k, (shown, marked) in enumerate(supports):
                if k != i:
                    other.learn(shown, marked, "red")
            other.reject(picture(np.random.default_rng(1)))
            answer = other.segment(image) == 1
            wanted.append((answer & (mask == 1)).sum() / (answer | (mask == 1)).sum())
        assert found["red"] == pytest.approx(wanted, abs=1e-6), name
        assert len(segmenter.known[0].supports) == 5


def test_a_class_with_one_support_is_not_measured(supports, tmp_path):
    segmenter = made(KernelDensityRatio)
    truth = labelled(segmenter, tmp_path, supports[:2])
    (tmp_path / "more").mkdir()
    truth += labelled(segmenter, tmp_path / "more", [scene(np.random.default_rng(5), 1)], ("green",))
    assert {name: len(values) for name, values in held_out(segmenter, truth).items()} == {"red": 2}
    alone = made(KernelDensityRatio)
    assert held_out(alone, labelled(alone, tmp_path, supports[:1])) == {}


def test_many_supports_are_left_out_in_groups(supports, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_FOLDS", 2)
    segmenter = made(KernelDensityRatio)
    truth = labelled(segmenter, tmp_path, supports)
    known = []
    monkeypatch.setattr(segmenter, "segment", lambda image: known.append(len(segmenter.known[0].supports)) or square())
    held_out(segmenter, truth)
    assert known == [2] * 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", [KernelDensityRatio, PMMs])
def test_a_file_gives_the_same_answers(kind, supports, tmp_path):
    segmenter = made(kind)
    use(segmenter, Tuned(segmenter.method, share=0.5))
    segmenter.learn(*zip(*supports[:3], strict=True), "red")
    segmenter.learn(*scene(np.random.default_rng(5), 1), "green")
    segmenter.save(tmp_path / "a.fsseg")
    again = fsseg.Segmenter.load(tmp_path / "a.fsseg", "cpu")
    assert (again.method.share, again.method.method.name) == (0.5, segmenter.method.method.name)
    for one, other in zip(segmenter.predict(supports[3][0]), again.predict(supports[3][0]), strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_what_cannot_be_tuned_is_said():
    method = PANet(ConvNet())
    with pytest.raises(FssegError, match="is tuned already"):
        Tuned(Tuned(method))
    with pytest.raises(FssegError, match="encodes supports with their masks"):
        Tuned(AMCG(ConvNet()))
    for numbers in ({"decay": 0.0}, {"decay": float("nan")}, {"share": 2.0}, {"share": float("nan")}):
        with pytest.raises(FssegError, match="a decay above 0 and a share of"):
            Tuned(method, **numbers)


def test_a_gain_within_its_standard_error_keeps_the_untuned_form():
    plain = {"a": [0.5, 0.5, 0.5, 0.5]}
    steady, lucky = {"a": [0.6, 0.6, 0.61, 0.6]}, {"a": [0.3, 0.4, 0.5, 1.0]}
    assert best({"untuned": plain, "tuned": steady, "head": lucky}) == "tuned"
    assert best({"untuned": plain, "tuned": lucky}) == "untuned"  # mean 0.55, standard error 0.155
    assert best({"untuned": plain, "tuned": plain}) == "untuned"
    assert best({"untuned": {"a": [0.1]}, "tuned": {"a": [0.9]}}) == "untuned"
