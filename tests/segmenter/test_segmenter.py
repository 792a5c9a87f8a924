"""A segmenter gives what its method gives in an episode, and an update costs no encoder pass."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import fsseg
from fsseg.datasets import Shapes
from fsseg.encoders import ConvNet
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.methods import AMCG, PL, HSNet, KernelDensityRatio, Method, MixtureClassifier, PANet, PMMs
from fsseg.methods.binary import BinaryMethod
from fsseg.ops.similarity import cosine_similarity
from fsseg.segmenter.inputs import as_image
from fsseg.segmenter.mask_inputs import as_labels
from fsseg.segmenter.persistence import description
from fsseg.segmenter.tiling import Canvas
from tests.methods.found import METHODS, encoder

SIZE = 64


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    dataset = Shapes(size=SIZE, train=40, val=40)
    dataset.open(None)
    return dataset


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def picture(random: np.random.Generator, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def square(height: int = SIZE, width: int = SIZE, top: int = 8, left: int = 10, side: int = 24) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    torch.manual_seed(0)
    return METHODS[request.param]()


def counted(segmenter: fsseg.Segmenter) -> list[int]:
    """Images that pass the encoder from now on."""
    passed: list[int] = []
    encode = segmenter.method.encode

    def counting(images: torch.Tensor) -> torch.Tensor:
        passed.append(len(images))
        return encode(images)

    segmenter.method.encode = counting  # type: ignore[method-assign]
    return passed


def episode(images: list[list[np.ndarray]], masks: list[list[np.ndarray]], query: np.ndarray) -> Batch:
    """An episode of supports, way by way, and one query, as a test would have it."""
    support = torch.stack([torch.stack([torch.from_numpy(i).movedim(-1, 0) for i in way]) for way in images])
    mask = torch.stack(
        [torch.stack([torch.from_numpy(m * np.uint8(n + 1)) for m in way]) for n, way in enumerate(masks)]
    )
    way, shot = mask.shape[:2]
    one = torch.zeros(1, 1, dtype=torch.long)
    return Batch(
        support[None], mask[None], torch.from_numpy(query).movedim(-1, 0)[None, None],
        torch.zeros(1, 1, *query.shape[:2], dtype=torch.uint8), torch.tensor([[list(query.shape[:2])]]), one,
        torch.arange(way)[None], torch.zeros(1, way, shot, dtype=torch.long), one,
        torch.zeros(1, way, shot, dtype=torch.long), one, one[0], one[0],
    )  # fmt: skip


@pytest.mark.parametrize(("way", "shot"), [(1, 1), (2, 2)])
def test_it_gives_what_the_method_gives_in_an_episode(method, random, way, shot):
    images = [[picture(random) for _ in range(shot)] for _ in range(way)]
    masks = [[square(top=4 + 9 * n, left=3 + 11 * k) for k in range(shot)] for n in range(way)]
    query = picture(random)
    segmenter = fsseg.Segmenter(method, SIZE, device="cpu")
    for n in range(way):
        segmenter.learn(images[n], masks[n], f"class {n}")
    found = segmenter.predict(query, score=False)
    with torch.inference_mode():
        expected = method(episode(images, masks, query))[0, 0]
    torch.testing.assert_close(torch.from_numpy(found.probability), expected.softmax(0), rtol=1e-4, atol=1e-5)
    tied = (expected.topk(2, dim=0).values.diff(dim=0).abs() < 1e-4)[0].numpy()
    assert (found.mask == expected.argmax(0).numpy())[~tied].all()


def test_classes_may_differ_in_their_supports(method, random):
    """One support of a class is as good as the same one twice."""
    a, (b, c), query = picture(random), (picture(random), picture(random)), picture(random)
    segmenter = fsseg.Segmenter(method, SIZE, device="cpu")
    segmenter.learn(a, square(), "a")
    segmenter.learn([b, c], [square(top=20), square(left=2)], "b")
    found = segmenter.predict(query, score=False).probability
    masks = [[square(), square()], [square(top=20), square(left=2)]]
    with torch.inference_mode():
        expected = method(episode([[a, a], [b, c]], masks, query))[0, 0].softmax(0)
    if getattr(method, "answer", None) == "code" or isinstance(method, AMCG | HSNet):  # depend on the number of shots
        return
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_it_learns_from_a_data_set_as_a_test_does(shapes):
    """On photos' stand-in: a prediction at the picture's own size, resized for the network only."""
    method = PANet(encoder())
    segmenter = fsseg.Segmenter(method, 48, device="cpu")
    number, class_id = next((i, int(c)) for i in range(40) for c in np.unique(shapes.mask(i)) if c not in (0, 255))
    mask = (shapes.mask(number) == class_id).astype(np.uint8)
    segmenter.learn(shapes.image(number), mask)
    assert segmenter.segment(shapes.image(number + 1)).shape == shapes.image(number + 1).shape[:2]
    assert segmenter.classes == ("object",)


def test_an_update_costs_no_encoder_pass(method, random):
    support, query = picture(random), picture(random, 50, 80)
    segmenter = fsseg.Segmenter(method, SIZE, device="cpu")
    passed = counted(segmenter)
    (number,) = segmenter.learn(support, square())
    segmenter.segment(query)
    assert passed == [1, 1]
    segmenter.repaint(number, square(top=30))
    again = segmenter.segment(query)
    assert passed == [1, 1]
    fresh = fsseg.Segmenter(method, SIZE, device="cpu")
    fresh.learn(support, square(top=30))
    assert (fresh.segment(query) == again).all()


def test_what_is_forgotten_was_never_learnt(method, random):
    a, b, c, query = (picture(random) for _ in range(4))
    segmenter = fsseg.Segmenter(method, SIZE, device="cpu")
    (first,) = segmenter.learn(a, square(), "a")
    segmenter.learn(b, square(top=20), "b")
    (third,) = segmenter.learn(c, square(left=20), "b")
    segmenter.forget(first)
    assert segmenter.classes == ("b",)
    segmenter.forget(third)
    fresh = fsseg.Segmenter(method, SIZE, device="cpu")
    fresh.learn(b, square(top=20), "b")
    assert (fresh.predict(query, score=False).probability == segmenter.predict(query, score=False).probability).all()


def test_a_picture_of_several_classes_teaches_each(random):
    image, query = picture(random), picture(random)
    both = square()
    both[40:60, 30:60] = 2
    segmenter = fsseg.Segmenter(PMMs(encoder(), channels=8), SIZE, device="cpu")
    (number,) = segmenter.learn(image, both, ["cat", "dog"])
    assert segmenter.classes == ("cat", "dog")
    apart = fsseg.Segmenter(segmenter.method, SIZE, device="cpu")
    apart.learn(image, both == 1, "cat")
    apart.learn(image, both == 2, "dog")
    expected = apart.predict(query, score=False).probability
    np.testing.assert_allclose(segmenter.predict(query, score=False).probability, expected, atol=1e-6)
    swapped = np.where(both == 0, 0, 3 - both)
    segmenter.repaint(number, swapped)
    exchanged = segmenter.predict(query, score=False).probability
    np.testing.assert_allclose(exchanged, expected[[0, 2, 1]], atol=1e-6)


def test_what_is_rejected_is_background(method, random):
    image, query = picture(random), picture(random)
    segmenter = fsseg.Segmenter(method, SIZE, device="cpu")
    segmenter.learn(image, square(), "cat")
    before = segmenter.segment(query)
    (number,) = segmenter.reject(query)
    assert segmenter.classes == ("cat",)
    found = segmenter.predict(query)
    assert set(np.unique(found.mask)) <= {0, 1}
    assert found.probability.shape == (2, SIZE, SIZE)
    np.testing.assert_allclose(found.probability.sum(0), 1, atol=1e-5)
    if not isinstance(method, PL):  # another way changes its background
        assert (found.mask == 1).sum() <= (before == 1).sum()
    segmenter.forget(number)
    assert (segmenter.segment(query) == before).all()


def test_rejecting_takes_the_picture_out_of_the_answer():
    """On squares of one colour each: told that the yellow one is not it, the red one alone is found."""
    red, yellow = np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8)
    red[:] = yellow[:] = (90, 90, 90)
    red[8:32, 10:34], yellow[8:32, 10:34] = (220, 40, 40), (220, 200, 40)
    both = np.full((SIZE, SIZE, 3), 90, dtype=np.uint8)
    both[4:28, 4:28], both[34:58, 34:58] = (220, 40, 40), (220, 200, 40)
    segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, device="cpu")
    segmenter.learn(red, square())
    before = segmenter.segment(both)
    segmenter.reject(yellow, square())
    after = segmenter.segment(both)
    assert (before[38:54, 38:54] == 1).mean() > (after[38:54, 38:54] == 1).mean() == 0
    assert (after[8:24, 8:24] == 1).mean() > 0.9


POOLING = [KernelDensityRatio, MixtureClassifier]


@pytest.mark.parametrize("kind", POOLING)
def test_a_rejected_image_is_background_of_each_class(kind, random):
    """The same as an episode whose last supports show nothing: what a rejection marks is background."""
    torch.manual_seed(0)
    segmenter = fsseg.Segmenter(kind(encoder()), SIZE, device="cpu")
    images, masks, query = [picture(random) for _ in range(4)], [square(), square(top=20)], picture(random)
    segmenter.learn(images[:2], masks)
    before = segmenter.predict(query).probability
    segmenter.reject(images[2])
    (number,) = segmenter.reject(images[3], square(side=30))
    after = segmenter.predict(query).probability
    assert np.abs(after - before).max() > 1e-3
    labels = torch.from_numpy(np.stack([*masks, np.zeros((SIZE, SIZE)), 255 - 255 * square(side=30)]).astype(np.uint8))
    supports = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = tuple(one[None, None] for one in segmenter.method.encode(supports))
        state = segmenter.method.state(maps, labels[None, None])
        asked = segmenter.method.encode(torch.from_numpy(query).permute(2, 0, 1)[None])
        found = segmenter.method.segment_resized(state, tuple(one[None] for one in asked), (SIZE, SIZE), (SIZE, SIZE))
    np.testing.assert_allclose(after, found[0, 0].softmax(0).numpy(), atol=1e-5)
    segmenter.forget(number)
    segmenter.forget(number - 1)
    np.testing.assert_allclose(segmenter.predict(query).probability, before, atol=1e-6)


@pytest.mark.parametrize("kind", POOLING)
def test_rejected_images_leave_the_object(kind):
    """Red squares are found beside yellow ones, also after six images of yellow squares are rejected."""

    def scene(*squares: tuple[tuple[int, int, int], int, int]) -> np.ndarray:
        image = np.full((SIZE, SIZE, 3), 90, dtype=np.uint8)
        for colour, top, left in squares:
            image[top : top + 24, left : left + 24] = colour
        return image

    red, yellow = (220, 40, 40), (220, 200, 40)
    torch.manual_seed(0)
    segmenter = fsseg.Segmenter(kind(encoder()), SIZE, device="cpu")
    places = [(8, 10), (20, 30), (30, 5)]
    segmenter.learn([scene((red, *at)) for at in places], [square(top=top, left=left) for top, left in places])
    both = scene((red, 4, 4), (yellow, 34, 34))
    before = segmenter.predict(both).probability[1]
    segmenter.reject([scene((yellow, *at)) for at in places * 2])
    after = segmenter.predict(both)
    assert (after.mask[8:24, 8:24] == 1).mean() > 0.9
    assert after.probability[1, 38:54, 38:54].mean() < 0.7 * before[38:54, 38:54].mean()


def test_scores_tell_pictures_that_show_the_class_from_others():
    def scene(colour: tuple[int, int, int], top: int, left: int) -> np.ndarray:
        image = np.full((SIZE, SIZE, 3), 90, dtype=np.uint8)
        image[top : top + 24, left : left + 24] = colour
        return image

    supports = [scene((220, 40, 40), 8, 10), scene((210, 50, 40), 20, 30), scene((225, 45, 50), 30, 5)]
    masks = [square(), square(top=20, left=30), square(top=30, left=5)]
    segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, device="cpu")
    segmenter.learn(supports[0], masks[0], "red")
    assert segmenter.predict(scene((220, 40, 40), 4, 4)).score == {"red": None}  # one support says nothing
    segmenter.learn(supports[1:], masks[1:], "red")
    there, gone = scene((218, 42, 44), 12, 22), scene((95, 96, 120), 12, 22)
    assert segmenter.predict(there).score["red"] > 0.5 > (segmenter.predict(gone).score["red"] or 0)
    assert (segmenter.segment(there, 0.5) == 1).any()
    assert not segmenter.segment(gone, 0.5).any()
    found = segmenter.predict(gone, threshold=0.5)
    assert found.probability[1].max() == 0


def test_saved_and_loaded_it_gives_the_same(method, random, tmp_path):
    segmenter = fsseg.Segmenter(method, SIZE, "long_side", device="cpu")
    segmenter.learn([picture(random), picture(random, 40, 70)], [square(), square(40, 70)], "cat")
    segmenter.learn(picture(random), square(), "dog")
    segmenter.reject(picture(random))
    query = picture(random, 40, 90)
    before = segmenter.predict(query, score=False)
    segmenter.save(tmp_path / "cats.fsseg")
    loaded = fsseg.Segmenter.load(tmp_path / "cats.fsseg", "cpu")
    passed = counted(loaded)
    after = loaded.predict(query, score=False)
    assert loaded.classes == ("cat", "dog")
    assert passed == [1]  # the query; supports are not encoded again
    assert (before.mask == after.mask).all()
    np.testing.assert_allclose(before.probability, after.probability, atol=1e-6)
    (number,) = loaded.learn(picture(random), square(), "dog")
    assert number == 5
    assert [path.name for path in tmp_path.iterdir()] == ["cats.fsseg"]


def test_a_method_that_cannot_be_written_down_is_said(random, tmp_path):
    class Odd(PANet):
        def __init__(self, encoder: ConvNet, thing: object) -> None:
            super().__init__(encoder)

    segmenter = fsseg.Segmenter(Odd(encoder(), object()), SIZE, device="cpu")
    with pytest.raises(FssegError, match="there are no classes to save"):
        segmenter.save(tmp_path / "x.fsseg")
    segmenter.learn(picture(random), square())
    with pytest.raises(FssegError, match="Odd's thing is a object, which cannot be stored"):
        segmenter.save(tmp_path / "x.fsseg")


@pytest.mark.parametrize("made", [lambda kind: kind(encoder()), lambda kind: kind(encoder=encoder())])
def test_the_arguments_of_a_method_without_a_constructor_are_stored(made):
    nothing = dict.fromkeys(("adapt", "predict", "losses"), lambda self, *given: ())
    stored = description(made(type("Plain", (Method,), {"__module__": __name__, **nothing})))
    assert stored["init_args"].keys() == {"encoder"}
    assert stored["init_args"]["encoder"]["class_path"] == "fsseg.encoders.convnet.ConvNet"


def change(content: dict, **values: object) -> dict:
    return {**content, **values}


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (
            lambda c: change(c, config=c["config"].replace("fsseg.methods.panet.PANet", "subprocess.Popen")),
            "subprocess",
        ),
        (lambda c: change(c, fsseg_segmenter=2), "newer fsseg"),
        (lambda c: change(c, supports={1: [torch.zeros(2), torch.zeros(2), [1, 2]]}), "broken file"),
        (lambda c: change(c, supports={1: [[c["supports"][1][0][0][:, :3]], *c["supports"][1][1:]]}), "broken file"),
        (lambda c: change(c, classes=["cat", "dog"]), "broken file"),
        (lambda c: change(c, classes=["\x1b[2J"]), "broken file"),
        (lambda c: change(c, state_dict={}), "does not hold the method"),
        (lambda c: change(c, canvas=[8, "square"]), "size 8"),
        (lambda c: change(c, config="a: [b"), "broken configuration"),
        (lambda c: [c], "no checkpoint of `fsseg fit`"),
    ],
)
def test_a_strangers_file_is_data(random, tmp_path, broken, line):
    segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, device="cpu")
    segmenter.learn(picture(random), square(), "cat")
    path = tmp_path / "cats.fsseg"
    segmenter.save(path)
    torch.save(broken(torch.load(path, weights_only=True)), path)
    with pytest.raises(FssegError, match=line):
        fsseg.Segmenter.load(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_what_is_no_file_of_ours_is_refused(tmp_path, content):
    path = tmp_path / "x.fsseg"
    path.write_bytes(content)
    with pytest.raises(FssegError, match="cannot be read"):
        fsseg.Segmenter.load(path)
    with pytest.raises(FssegError, match="no such file"):
        fsseg.Segmenter.load(tmp_path / "gone")


def test_threads_see_one_state_or_the_next(random):
    segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, device="cpu")
    (number,) = segmenter.learn(picture(random), square())
    query, masks = picture(random), (square(), square(top=36))
    expected = []
    for mask in masks:
        segmenter.repaint(number, mask)
        expected.append(segmenter.segment(query).tobytes())
    seen: set[bytes] = set()
    wrong: list[BaseException] = []

    def look() -> None:
        try:
            for _ in range(30):
                seen.add(segmenter.segment(query).tobytes())
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(40):
        segmenter.repaint(number, masks[turn % 2])
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen <= set(expected)


GIVEN: dict[str, Callable[[np.ndarray, Path], object]] = {
    "array": lambda image, folder: image,
    "floats": lambda image, folder: image / 255,
    "tensor": lambda image, folder: torch.from_numpy(image).movedim(-1, 0),
    "PIL": lambda image, folder: PIL.Image.fromarray(image),
    "file": lambda image, folder: PIL.Image.fromarray(image).save(folder / "x.png") or folder / "x.png",
    "text": lambda image, folder: PIL.Image.fromarray(image).save(folder / "x.tif") or str(folder / "x.tif"),
    "alpha": lambda image, folder: np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_images_may_be_given_in_any_form(kind, random, tmp_path):
    image = picture(random, 20, 30)
    assert (as_image(GIVEN[kind](image, tmp_path)) == image).all()


def test_several_may_be_one_array(random):
    images, masks = np.stack([picture(random)] * 2), np.stack([square(), square(top=30)])
    found = []
    for given in (
        (images, masks),
        (list(images), list(masks)),
        (torch.from_numpy(images).movedim(-1, 1), torch.from_numpy(masks)),
    ):
        torch.manual_seed(0)
        segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, device="cpu")
        assert segmenter.learn(*given) == [1, 2]
        found.append(segmenter.segment(images[0]))
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    half = torch.from_numpy(images[0]).movedim(-1, 0).bfloat16() / 255
    assert as_image(half).shape == images[0].shape


def test_grey_transparent_and_turned_images(tmp_path):
    assert as_image(np.full((9, 10), 7, np.uint8)).tolist() == np.full((9, 10, 3), 7).tolist()
    clear = np.zeros((9, 10, 4), np.uint8)
    assert (as_image(clear) == 255).all()
    PIL.Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (as_image(tmp_path / "clear.png") == 255).all()
    lying = PIL.Image.new("RGB", (30, 20))
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "turned.jpg", exif=exif)
    assert (
        as_image(tmp_path / "turned.jpg").shape
        == as_image(PIL.Image.open(tmp_path / "turned.jpg")).shape
        == (30, 20, 3)
    )


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (np.zeros((9, 9, 2), np.uint8), r"shape \(9, 9, 2\)"),
        (np.zeros((9, 9, 3), np.int32), "of int32"),
        (np.full((9, 9, 3), 2.0), "outside 0..1"),
        (np.full((9, 9, 3), np.nan), "outside 0..1"),
        (np.zeros((4, 90, 3), np.uint8), "90x4 pixels"),
        (torch.zeros(9, 9, 3, dtype=torch.uint8), "3 H W is needed"),
        (np.zeros(5), "is needed"),
        (np.zeros((0, 9, 3)), "is needed"),
        (PIL.Image.fromarray(np.zeros((9, 9), np.float32)), "F pixels; 8 bits"),
    ],
)
def test_what_is_no_image_is_refused(image, line):
    with pytest.raises(FssegError, match=line):
        as_image(image)


@pytest.mark.parametrize(
    ("mask", "classes", "expected"),
    [
        (np.array([[0, 255]], np.uint8), 1, [[0, 1]]),  # black and white
        (np.array([[0, 7]], np.uint8), 1, [[0, 1]]),
        (np.array([[0, 1, 255]], np.uint8), 1, [[0, 1, 255]]),  # 255 beside another: not labelled
        (np.array([[False, True]]), 1, [[0, 1]]),
        (np.array([[0, 2, 1, 255]]), 2, [[0, 2, 1, 255]]),
        (torch.tensor([[[0.0, 1.0]]]), 1, [[0, 1]]),
        (PIL.Image.fromarray(np.array([[[0, 0, 0], [9, 0, 0]]], np.uint8)), 1, [[0, 1]]),
        (PIL.Image.fromarray(np.array([[[9, 9, 9, 0], [9, 0, 0, 255]]], np.uint8)), 1, [[0, 1]]),
    ],
)
def test_masks_may_be_given_in_any_form(mask, classes, expected):
    labels = as_labels(mask, classes, (1, len(expected[0])))
    assert labels.tolist() == expected
    assert labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("mask", "classes", "line"),
    [
        (np.zeros((2, 2), np.uint8), 1, "is empty"),
        (np.array([[1, 2], [3, 0]], np.uint8), 1, "values 1, 2, 3"),
        (np.array([[1, 3], [0, 0]], np.uint8), 2, "value 3, but 2 classes"),
        (np.zeros((3, 2), np.uint8), 1, "is 2x3, its image 2x2"),
        (np.full((2, 2), 0.5), 1, "integers in 0..255"),
        (np.full((2, 2), 300), 1, "integers in 0..255"),
        (np.full((2, 2), np.nan), 1, "integers in 0..255"),
        (np.zeros((2, 2, 3)), 1, r"shape \(2, 2, 3\)"),
        (np.array([["a", "b"], ["c", "d"]]), 1, "integers in 0..255"),
        (np.zeros((2, 2), complex), 1, "integers in 0..255"),
    ],
)
def test_what_is_no_mask_is_refused(mask, classes, line):
    with pytest.raises(FssegError, match=line):
        as_labels(mask, classes, (2, 2))


def test_mistakes_leave_a_segmenter_as_it_was(random):
    segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, device="cpu")
    with pytest.raises(FssegError, match="there are no classes: call learn"):
        segmenter.segment(picture(random))
    (number,) = segmenter.learn(picture(random), square())
    query = picture(random)
    before = segmenter.segment(query)
    for mistake, line in (
        (lambda: segmenter.learn(query, square(10, 10)), "is 10x10"),
        (lambda: segmenter.learn([query, query], [square()]), "2 images and 1 masks"),
        (lambda: segmenter.learn(query, square(), ["a", "a"]), "each once"),
        (lambda: segmenter.learn(query, square(), "a\nb"), "one line of text"),
        (lambda: segmenter.learn(query, square(), ["a", "b"]), "no support shows b"),
        (lambda: segmenter.save(Path(".")), "no place to save to"),
        (lambda: Canvas(96.5).checked(), "size 96.5"),
        (lambda: segmenter.repaint(number, square() * 0), "is empty"),
        (lambda: segmenter.repaint(9, square()), "no support 9. Supports: 1"),
        (lambda: segmenter.forget(9), "no support 9"),
        (lambda: segmenter.segment(query, 2.0), "score of 0..1"),
        (lambda: fsseg.Segmenter(segmenter.method, 8), "size 8"),
        (lambda: Canvas(64, "round").checked(), "fit round"),
    ):
        with pytest.raises(FssegError, match=line):
            mistake()
    assert (segmenter.segment(query) == before).all()


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 64), (200, 130), (64, 1000), (127, 129)])
def test_tiles_answer_each_pixel_once(size):
    answered = np.zeros(size, dtype=int)
    for window in Canvas(64, "tile").windows(*size):
        part = torch.zeros(window.rows.stop - window.rows.start, window.columns.stop - window.columns.start)
        assert max(part.shape) <= 64
        own = window.own(part)
        assert own.shape == answered[window.own_rows, window.own_columns].shape
        answered[window.own_rows, window.own_columns] += 1
    assert (answered == 1).all()


def test_a_picture_of_one_tile_is_segmented_as_it_is(method, random):
    support, query = picture(random), picture(random)
    tiled, plain = (fsseg.Segmenter(method, SIZE, fit, device="cpu") for fit in ("tile", "square"))
    for segmenter in (tiled, plain):
        segmenter.learn(support, square())
    assert (tiled.segment(query) == plain.segment(query)).all()


def test_a_large_picture_is_segmented_tile_by_tile(random):
    """Away from borders between tiles an answer is that of the tile alone."""
    segmenter = fsseg.Segmenter(PANet(encoder()), SIZE, "tile", device="cpu")
    large, mask = picture(random, 100, 150), square(100, 150, top=40, left=60, side=40)
    segmenter.learn(large, mask)
    query = picture(random, 64, 150)
    found = segmenter.predict(query, score=False)
    for window in segmenter.canvas.windows(64, 150):
        alone = segmenter.predict(query[:, window.columns], score=False).probability
        left = window.own_columns.start - window.columns.start
        wide = window.own_columns.stop - window.own_columns.start
        own = found.probability[:, :, window.own_columns]
        np.testing.assert_allclose(own, alone[:, :, left : left + wide], atol=1e-6)


def test_proportions_are_kept_where_asked():
    assert Canvas(100, "long_side").shown(50, 200) == (32, 100)  # no side below what a network is shown
    assert Canvas(100, "long_side").shown(300, 200) == (100, 67)
    assert Canvas(100).shown(300, 200) == (100, 100)


def test_supports_of_methods_with_a_state_per_episode_are_shared_out(random):
    """A method that is not binary and whose state is an episode's: fewer supports are repeated."""

    class Plain(PANet):
        state_per = "episode"

        def adapt(self, support, mask):
            return (self.prototypes(*super().adapt(support, mask)),)

        def predict(self, state, query):
            return self.scale * cosine_similarity(query[0], state[0].unsqueeze(1))

    pictures = [picture(random) for _ in range(4)]
    found = []
    torch.manual_seed(0)
    for kind in (PANet, Plain):
        torch.manual_seed(0)
        segmenter = fsseg.Segmenter(kind(encoder()), SIZE, device="cpu")
        segmenter.learn(pictures[:2], [square(), square(top=30)], "a")
        segmenter.learn(pictures[2], square(left=30), "b")
        found.append(segmenter.predict(pictures[3], score=False).probability)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert not isinstance(segmenter.method, BinaryMethod)
