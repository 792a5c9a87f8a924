"""The cache of COCO's regions: it saves a second start the annotations, and can fail in no harmful way."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_code

from fsseg.datasets import Coco, coco, mask_store
from fsseg.errors import FssegError
from fsseg.files.run_lengths import decode, read_runs


def opened(root: Path, **options: Any) -> Coco:
    dataset = Coco(**options)
    dataset.open(root)
    return dataset


def test_runs_equal_pycocotools() -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        mask = np.asfortranarray(random.random(random.integers(1, 90, 2)) < random.random(), dtype=np.uint8)
        assert np.array_equal(decode(mask_code.encode(mask)), mask)
    for size in ((1, 1), (700, 900)):
        for value in (0, 1):
            assert (decode(mask_code.encode(np.full(size, value, dtype=np.uint8, order="F"))) == value).all()
    with pytest.raises(ValueError, match="truncated"):
        read_runs(b"5P")


@pytest.fixture(autouse=True)
def cache(no_cache: Path) -> Path:
    return no_cache


def folders(cache: Path) -> list[str]:
    return sorted(os.listdir(cache))


def test_a_second_start_reads_no_annotations(cache: Path, fake_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(fake_coco)
    monkeypatch.setattr(coco, "read_annotations", None)
    second = opened(fake_coco)
    assert (first.index.fresh, second.index.fresh) == (True, False)
    assert second.index.cache == first.index.cache == cache / folders(cache)[0]
    assert np.array_equal(first.index.pixels, second.index.pixels)
    for number in range(202):
        assert first.image_name(number) == second.image_name(number)
        assert np.array_equal(first.mask(number), second.mask(number))
    opened(fake_coco, fold_rule="contiguous", other_ways="background")  # change neither masks nor index


@pytest.mark.slow
def test_options_that_change_masks_have_caches_of_their_own(cache: Path, fake_coco: Path) -> None:
    every = [{}, {"crowds": "ignore"}, {"masks": "first_polygon_map"}, {"masks": "first_polygon_convex"}]
    masks = [opened(fake_coco, **options).mask(3).tobytes() for options in every]
    again = [opened(fake_coco, **options).mask(3).tobytes() for options in every]
    assert masks == again
    assert len(folders(cache)) == len(every)


def test_a_changed_annotation_file_is_read_again(fake_coco: Path) -> None:
    opened(fake_coco)
    path = fake_coco / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 501]
    path.write_text(json.dumps(content))
    assert not opened(fake_coco).mask(101).any()


@pytest.mark.parametrize("name", mask_store._ARRAYS)
@pytest.mark.slow
def test_a_cache_that_was_cut_off_is_made_again(cache: Path, fake_coco: Path, name: str) -> None:
    expected = opened(fake_coco).mask(7)
    path = cache / folders(cache)[0] / f"{name}.npy"
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], content[:-1], None):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
        assert opened(fake_coco).index.fresh
        assert np.array_equal(opened(fake_coco).mask(7), expected)
        assert not opened(fake_coco).index.fresh


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_nothing_but_time(cache: Path, fake_coco: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    dataset = opened(fake_coco)
    assert dataset.index.cache is None
    assert opened(fake_coco).index.fresh
    assert np.array_equal(opened(fake_coco).mask(3), dataset.mask(3))
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).mask(3), dataset.mask(3))


def test_two_processes_may_count_at_once(cache: Path, fake_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faster = opened(fake_coco)
    folder = cache / folders(cache)[0]
    before = folder.stat().st_ino

    def nothing_yet(folder: Path) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(coco, "load", nothing_yet)
    slower = opened(fake_coco)
    assert slower.index.cache == faster.index.cache == folder
    assert folder.stat().st_ino == before
    assert np.array_equal(slower.mask(3), faster.mask(3))


def test_nothing_half_written_is_left(cache: Path, fake_coco: Path) -> None:
    opened(fake_coco)
    assert all(name.startswith("coco-") for name in folders(cache))


def test_workers_map_the_cache_instead_of_receiving_it(cache: Path, fake_coco: Path) -> None:
    dataset = opened(fake_coco)
    sent = pickle.dumps(dataset)
    assert len(sent) < 2000
    received = pickle.loads(sent)
    assert np.array_equal(received.index.pixels, dataset.index.pixels)
    assert np.array_equal(received.episode_mask(3, (4, 31), 1), dataset.episode_mask(3, (4, 31), 1))
    assert np.array_equal(received.image(150), dataset.image(150))
    assert (received.name, received.note) == (dataset.name, dataset.note)
    shutil.rmtree(cache)
    with pytest.raises(FssegError, match="was removed"):
        pickle.loads(sent)
    assert pickle.loads(pickle.dumps(Coco(year=2014))).year == 2014


def test_a_cache_whose_content_is_damaged_is_named(cache: Path, fake_coco: Path) -> None:
    dataset = Coco()
    dataset.open(fake_coco)
    (codes,) = cache.rglob("codes.npy")
    data = bytearray(codes.read_bytes())
    data[128:] = b"P" * (len(data) - 128)
    codes.write_bytes(bytes(data))
    dataset.open(fake_coco)
    with pytest.raises(FssegError, match=r"cache .* is damaged. Delete it"):
        [dataset.mask(number) for number in dataset.numbers("train")]
