"""Files of maps: a second command reads what a first one encoded; whatever changes a map changes its file's name."""

from pathlib import Path

import pytest
import torch

from fsseg.encoders import ConvNet, Encoder
from fsseg.feature_cache import map_files
from fsseg.feature_cache.map_files import MapFiles, encoded, probe
from fsseg.methods import PANet, PMMs
from fsseg.untrusted import configuration
from tests.feature_cache.test_testing import Passes, data, run
from tests.feature_cache.test_training import Trained, compare, made
from tests.feature_cache.test_training import data as training_data
from tests.feature_cache.test_training import encoder as fixed

SIDE = 16


def encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1).requires_grad_(False).eval()


def files(folder: Path, made: Encoder, side: int = SIDE) -> MapFiles:
    return MapFiles(folder, made, tuple(one[0] for one in made(probe(side))), side)


def images(seed: int = 0, side: int = SIDE) -> torch.Tensor:
    return torch.randint(256, (5, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def read_and_encoded(folder: Path, made: Encoder, given: torch.Tensor, side: int = SIDE) -> tuple[int, tuple]:
    found = files(folder, made, side)
    maps = encoded(made, given, torch.device("cpu"), found)
    return found.read, maps


def test_maps_are_the_encoders_and_are_read_the_second_time(tmp_path: Path) -> None:
    made, given = encoder(), images()
    first = read_and_encoded(tmp_path, made, given)
    second = read_and_encoded(tmp_path, made, given)
    assert (first[0], second[0]) == (0, 5)
    for maps in (first[1], second[1]):
        for one, wanted in zip(maps, made(given), strict=True):
            torch.testing.assert_close(one, wanted, rtol=1e-5, atol=1e-6)


def test_a_part_of_the_images_is_enough(tmp_path: Path) -> None:
    made, given = encoder(), images()
    read_and_encoded(tmp_path, made, given[[1, 3]])
    count, maps = read_and_encoded(tmp_path, made, given)
    assert count == 2
    torch.testing.assert_close(maps[0], made(given)[0], rtol=1e-5, atol=1e-6)


def test_another_image_size_weight_or_setting_is_not_read(tmp_path: Path) -> None:
    given = images()
    read_and_encoded(tmp_path, encoder(), given)
    changed = given.clone()
    changed[:, 0, 0, 0] += 1
    assert read_and_encoded(tmp_path, encoder(), changed)[0] == 0
    assert read_and_encoded(tmp_path, encoder(1), given)[0] == 0
    assert read_and_encoded(tmp_path, encoder(), images(side=24), side=24)[0] == 0
    other = encoder()
    other.mean += 1
    assert read_and_encoded(tmp_path, other, given)[0] == 0
    dilated = encoder()
    dilated.network[0].dilation = (2, 2)  # type: ignore[union-attr, operator, index]
    assert read_and_encoded(tmp_path, dilated, given)[0] == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert read_and_encoded(tmp_path, encoder(), given)[0] == 0
    assert read_and_encoded(tmp_path, encoder(), given)[0] == 5


def test_a_broken_file_is_made_anew(tmp_path: Path) -> None:
    made, given = encoder(), images()
    read_and_encoded(tmp_path, made, given)
    broken = [path for path in tmp_path.rglob("*.safetensors") if not path.name.startswith("probe")]
    for path in broken[:2]:
        path.write_bytes(path.read_bytes()[:-7])
    assert read_and_encoded(tmp_path, made, given)[0] == 3
    assert read_and_encoded(tmp_path, made, given)[0] == 5


def test_other_code_of_an_encoder_is_seen(tmp_path: Path) -> None:
    made, given = encoder(), images()
    read_and_encoded(tmp_path, made, given)
    made.register_forward_hook(lambda module, given, found: tuple(2 * one for one in found))
    found = files(tmp_path, made)
    torch.testing.assert_close(encoded(made, given, torch.device("cpu"), found)[0], made(given)[0])
    assert (
        found.report(5)
        == f"note: no files of maps: {found.folder} holds maps of other code of this encoder; delete it."
    )


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_files(tmp_path: Path) -> None:
    made, given = encoder(), images()
    (tmp_path / "file").write_text("")
    found = files(tmp_path / "file", made)
    torch.testing.assert_close(encoded(made, given, torch.device("cpu"), found)[0], made(given)[0])
    assert found.report(5).startswith("note: no files of maps: ")


@pytest.mark.slow
def test_a_second_training_encodes_nothing_and_takes_the_same_steps(tmp_path: Path) -> None:
    options = {"cache_folder": str(tmp_path), "size": 24}
    first, second = (Trained(made("PMMs"), training_data(**options)) for _ in range(2))
    compare(second, Trained(made("PMMs"), training_data()), rtol=1e-4)
    assert second.images == 2  # the probes of training and validation
    assert first.images > 50
    of_training, of_validation = [line for line in second.lines if "were read from" in line]
    assert of_training.split(" were ")[0].split(" of ")[0] == of_training.split(" of ")[1].split(" images")[0]
    assert str(tmp_path) in of_validation


@pytest.mark.slow
def test_a_second_method_and_a_test_read_the_maps_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shared = fixed().eval()
    for method in (PANet(shared), PMMs(shared, channels=8)):
        passes = Passes(method)
        method.eval()
        kept, plain = (run(method, data(cache_folder=folder)) for folder in (str(tmp_path), None))
        assert [row[:4] for row in kept.rows] == [row[:4] for row in plain.rows]
        same = sum(a == b for a, b in zip(kept.rows, plain.rows, strict=True))
        assert same >= 0.9 * len(plain.rows)  # a map's rounding may turn a pixel
    passes.images = 0
    run(method, data(cache_folder=str(tmp_path)))
    assert passes.images == 2  # the probe, for the shapes and for the files


def test_a_trained_encoder_has_no_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run(PANet(ConvNet(widths=(8, 16), strides=(2, 2), convolutions=1)), data(cache_folder=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_stored_configuration_names_no_folder_to_write_to(tmp_path: Path) -> None:
    text = f"data: {{fold: 1, loading: {{workers: 0, cache_folder: {tmp_path}}}}}"
    assert configuration.stored(text, "x", tmp_path / "run")["data"] == {"fold": 1, "loading": {"workers": 0}}


@pytest.mark.parametrize("side", [8, 33])
def test_the_probe_is_the_same_image(side: int) -> None:
    torch.testing.assert_close(probe(side), map_files.probe(side))
    assert probe(side).shape == (1, 3, side, side)
