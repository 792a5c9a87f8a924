"""What `learn` takes gives the masks that the command line makes of the same words, and a mistake is one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import fsseg
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError, NoDownloadError
from fsseg.experiment import support_arguments
from fsseg.methods import KernelDensityRatio, PANet
from fsseg.segmenter import default_method
from fsseg.segmenter.mask_inputs import as_masks

ROOT = Path(__file__).parents[2]
IMAGE = np.zeros((40, 60, 3), np.uint8)
BOX = np.zeros((40, 60), np.uint8)
BOX[5:25, 10:40] = 1


@pytest.mark.parametrize(
    "given",
    [
        BOX, BOX * 255, BOX.astype(bool), BOX.astype(float), BOX[..., None], BOX[None], 255.0 * BOX[..., None],
        torch.from_numpy(BOX), torch.from_numpy(BOX)[None].bool(), torch.from_numpy(BOX).float(), [BOX], [BOX[None]],
        BOX[None, ..., None], PIL.Image.fromarray(BOX * 255), (10, 5, 40, 25), [10.2, 4.9, 40.4, 25.3],
        [(10, 5, 40, 25)], np.array([10, 5, 40, 25]), torch.tensor([10.0, 5, 40, 25]), "10,5,40,25",
        {"boxes": [{"class": "cat", "box": [10, 5, 40, 25]}]},
        {"shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[10, 5], [40, 25]]}]},
    ],
)  # fmt: skip
def test_a_mask_of_one_image_may_have_any_form(given):
    (found,) = as_masks([IMAGE], [IMAGE], given, ["cat"])
    assert (found == BOX).all()


def test_masks_of_several_images_are_a_list_or_a_stack():
    both = np.stack([BOX, np.roll(BOX, 5, 1)])
    for given in (both, both[..., None], both[:, None], list(both), torch.from_numpy(both), tuple(both > 0)):
        assert (np.stack(as_masks([IMAGE] * 2, [IMAGE] * 2, given, ["cat"])) == both).all()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    PIL.Image.fromarray(random.integers(0, 256, IMAGE.shape, dtype=np.uint8)).save(tmp_path / "a.png")
    PIL.Image.fromarray(BOX * 255).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", BOX)
    scribble = np.full(BOX.shape, 255, np.uint8)
    scribble[10:12, 12:30], scribble[30:32] = 1, 0
    PIL.Image.fromarray(scribble).save(tmp_path / "a.scribble.png")
    points = [{"class": "cat", "point": [20, 12]}, {"class": "background", "point": [50, 30]}]
    (tmp_path / "points.json").write_text(json.dumps({"points": points}))
    (tmp_path / "boxes.json").write_text(json.dumps({"boxes": [{"class": "cat", "box": [10, 5, 40, 25]}]}))
    return tmp_path


@pytest.mark.parametrize("mask", ["mask.png", "mask.npy", "a.scribble.png", "points.json", "boxes.json", "10,5,40,25"])
def test_files_are_read_as_on_the_command_line(files, mask):
    given = mask if "," in mask else str(files / mask)
    image = files / "a.png"
    (shown,) = support_arguments.supports([f"cat={image}:{given}"])
    (found,) = as_masks([IMAGE], [image], given, ["cat"])
    assert (found == shown.labels()).all()
    assert len(np.unique(found)) == (3 if mask in ("a.scribble.png", "points.json") else 2)
    if mask == "points.json":
        content = json.loads((files / mask).read_text())
        assert (as_masks([IMAGE], [IMAGE], content, ["cat"])[0] == found).all()


def test_rejected_regions_and_repainted_masks_have_the_same_forms(files):
    torch.manual_seed(0)
    segmenter = fsseg.Segmenter(PANet(ConvNet()), 64, device="cpu")
    (number,) = segmenter.learn(files / "a.png", files / "mask.png", "cat")
    mask = segmenter.known[0].supports[number].mask
    segmenter.repaint(number, (0, 0, 9, 9))
    assert not torch.equal(segmenter.known[0].supports[number].mask, mask)
    segmenter.repaint(number, {"boxes": [{"class": "cat", "box": [10, 5, 40, 25]}]})
    assert torch.equal(segmenter.known[0].supports[number].mask, mask)
    (rejected,) = segmenter.reject(files / "a.png", files / "boxes.json")
    assert torch.equal(segmenter.known[0].supports[rejected].mask == 2, mask == 1)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Encoders that were asked for; those named in the list before cannot be downloaded."""
    refused: list[str] = []

    def build(name: str, **arguments: str) -> ConvNet:
        if name in refused:
            raise NoDownloadError(
                f"cannot download {name} (offline). Give `model.method.encoder.weights` FILE, or none."
            )
        return ConvNet()

    monkeypatch.setattr(default_method, "build", build)
    return refused


def test_without_arguments_it_is_what_predict_uses(offline, capsys):
    segmenter = fsseg.Segmenter(device="cpu")
    assert type(segmenter.method) is KernelDensityRatio
    assert (segmenter.canvas.size, segmenter.refine) == (420, True)
    assert "dinov2_s: 88 MB" in capsys.readouterr().err
    plain = fsseg.Segmenter(segmenter.method, device="cpu")
    assert (plain.canvas.size, plain.refine) == (417, False)
    named = fsseg.Segmenter("efficientnet_lite0", 64, refine=False, device="cpu")
    assert (named.canvas.size, named.refine) == (64, False)


def test_offline_the_smaller_encoder_is_tried_and_then_one_error_names_the_fix(offline, capsys):
    offline.append("dinov2_s")
    assert type(fsseg.Segmenter(device="cpu").method) is KernelDensityRatio
    assert "note: cannot download dinov2_s" in capsys.readouterr().err
    offline.append("efficientnet_lite0_levels")
    with pytest.raises(FssegError, match=r"fsseg.Segmenter\('efficientnet_lite0_levels', weights=FILE\)"):
        fsseg.Segmenter(device="cpu")
    with pytest.raises(FssegError, match=r"Give `weights` FILE, or none"):
        fsseg.Segmenter("efficientnet_lite0_levels", device="cpu")


def test_a_prediction_is_one_line_and_a_picture():
    segmenter = fsseg.Segmenter(PANet(ConvNet()), 64, device="cpu")
    image = np.full((50, 2000, 3), 90, np.uint8)
    image[10:40, 20:800] = (220, 40, 40)
    mask = (image[..., 0] == 220).astype(np.uint8)
    segmenter.learn([image, image[:, ::-1]], [mask, mask[:, ::-1]], "red square")
    found = segmenter.predict(image)
    share = f"{(found.mask == 1).mean():.1%}"
    assert repr(found) == f"Prediction(2000x50 pixels: red square {share}, score {found.score['red square']:.2f})"
    assert "\n" not in f"{found}"
    shown = segmenter.show(image)
    assert isinstance(shown, PIL.Image.Image)
    assert shown.width == 1024
    assert shown.height > 26  # with a legend
    assert (np.asarray(segmenter.show(image[:, :600]))[:50] != image[:, :600]).any()


# Each is called as a person would, without the type checks of the tests, and gives one line.
MISTAKES = {
    "Segmenter('resnet05')": "`method`: no encoder resnet05. Did you mean resnet50?",
    "Segmenter(5)": "`method` is a int: a method of fsseg.methods or an encoder's name is needed",
    "Segmenter(net)": "`method` is a ConvNet: a method of fsseg.methods or an encoder's name is needed. Give a method",
    "Segmenter('last.ckpt')": "`method` 'last.ckpt' is a file, no encoder. Use fsseg.Segmenter.load('last.ckpt')",
    "Segmenter('resnet18', weights='no.pth')": "`weights`: weights no.pth: no such file",
    "Segmenter(PANet(net), weights='a.pth')": "`weights` a.pth: they belong to an encoder's name; PANet has its own",
    "Segmenter(PANet(net), size='big')": "size big: an integer number of pixels",
    "Segmenter(PANet(net), device='gpu')": "device gpu: torch has no such device here",
    "s.learn('no.jpg', mask)": "no.jpg",
    "s.learn(None, mask)": "`images`: NoneType is no image",
    "s.learn([image, 7], [mask, mask])": "`images[1]`: int is no image",
    "s.learn(image[:4], mask[:4])": "`images`: an image has 60x4 pixels",
    "s.learn(image, None)": "`masks`: NoneType is no mask: give a file, a PIL image",
    "s.learn(image, mask[:9])": "`masks`: the mask is 60x9, its image 60x40",
    "s.learn([image, image], [mask, 0 * mask])": "`masks[1]`: the mask is empty: no pixel is marked",
    "s.learn([image, image], [mask])": "`masks`: 2 images and 1 masks: give one mask per image",
    "s.learn(image, 0.5 * mask)": "`masks`: a mask of float64 has other values than integers in 0..255",
    "s.learn(image, image)": "`masks`: a mask of shape (40, 60, 3): H W, H W 1 or 1 H W is needed",
    "s.learn(image, (10, 5, 99, 25))": "`masks`: box (10, 5, 99, 25): LEFT,TOP,RIGHT,BOTTOM within its 60x40 pixels",
    "s.learn(image, (.1, .1, .5, .5))": "`masks`: box (0.1, 0.1, 0.5, 0.5): pixels are needed, not fractions",
    "s.learn(image, (1, 1, 9, 9), ['a', 'b'])": "`masks`: a box marks one class, but 2 classes are named",
    "s.learn(image, {'points': [{'class': 'dog', 'point': [3, 3]}]}, 'cat')": "`masks`: mask given as a dict is empty",
    "s.learn(image, {'box': [1, 2, 3, 4]}, 'cat')": "`masks`: mask given as a dict has neither shapes",
    "s.learn(image, 'no.png')": "no.png",
    "s.learn(image, 'masks.zip')": "masks.zip: .zip files are not read; unpack it",
    "s.learn(image, mask, '')": "`classes` '': give names",
    "s.learn(image, mask, ['a', 'a'])": "`classes` ['a', 'a']: give names, each once",
    "s.segment(image)": "there are no classes: call learn(images, masks)",
    "known.segment('no.jpg')": "no.jpg",
    "known.segment([image])": "`image`: list is no image",
    "known.show(image, threshold=80)": "`threshold` 80: a score of 0..1 or auto is needed",
    "known.repaint(1, 0 * mask)": "`mask`: the mask is empty",
    "known.forget(5)": "no support 5. Supports: 1",
    "known.save('out.png')": "",
}  # fmt: skip
SCRIPT = """
import sys, numpy as np, fsseg
from fsseg import Segmenter
from fsseg.encoders import ConvNet
from fsseg.errors import FssegError
from fsseg.methods import PANet
net, image, mask = ConvNet(), np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
mask[5:25, 10:40] = 1
s, known = (Segmenter(PANet(net), 64, device='cpu') for _ in range(2))
known.learn(image, mask)
open('out.png', 'w').close()
for call in sys.stdin.read().splitlines():
    try:
        print(repr(eval(call)).splitlines()[0])
    except FssegError as error:
        print(error)
    except Exception as error:
        print('BROKEN', type(error).__name__, str(error).splitlines()[:1])
"""


@pytest.mark.slow
def test_mistakes_are_one_line_that_names_the_argument(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], input="\n".join(MISTAKES), cwd=tmp_path, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = ran.stdout.splitlines()
    assert len(lines) == len(MISTAKES)
    wrong = {call: line for (call, text), line in zip(MISTAKES.items(), lines, strict=True) if text not in line}
    assert not wrong
    assert not [line for line in lines if line.startswith("BROKEN")]
