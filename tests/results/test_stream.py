"""Rows that are written as they come are read back up to the last whole batch, and say which episodes they are of."""

import random

import pytest

from fsseg.episode import NO_WAY
from fsseg.metrics import count
from fsseg.results.rows import batch_rows
from fsseg.results.stream import Stream, read


def batches(make_batch):
    """Three of two episodes, two ways, two shots, three queries of which one shows no class."""
    found = []
    for number in range(3):
        batch = make_batch(episodes=2, way=2, shot=2, query=3, seed=number)
        batch.query_way[:, 1], batch.query_way[:, 2] = 1, NO_WAY
        batch.run[:] = number // 2
        batch.number[:] = batch.number + 2 * number
        found.append(batch_rows(batch, count(batch.query_mask.long(), batch.query_mask, 2)))
    return found


def test_a_stream_that_breaks_off_anywhere_gives_its_whole_batches(make_batch, tmp_path):
    found, stream = batches(make_batch), Stream(tmp_path / "rows")
    ends = [0]
    for number, rows in enumerate(found):
        stream.add(rows, [(0, 90 + number)])
        ends.append((tmp_path / "rows").stat().st_size)
    content = (tmp_path / "rows").read_bytes()
    moments = random.Random(0)
    for length in [*ends, *(moments.randrange(len(content)) for _ in range(40))]:
        (tmp_path / "cut").write_bytes(content[:length])
        streamed = read(tmp_path / "cut")
        done = sum(end <= length for end in ends) - 1
        assert streamed.episodes == 3 * done  # two that were tested, one that was left out
        assert streamed.rows == [row for rows in found[:done] for row in rows]
        assert streamed.left == [(0, 90 + number) for number in range(done)]


def test_a_stream_goes_on_from_another(make_batch, tmp_path):
    found, first = batches(make_batch), Stream(tmp_path / "first")
    for rows in found[:2]:
        first.add(rows, [(1, 2)])
    second = Stream(tmp_path / "second", first.read())
    assert second.episodes == 6
    second.add(found[2])
    assert second.read().rows == [row for rows in found for row in rows]
    assert (second.read().left, second.read().episodes) == ([(1, 2), (1, 2)], 8)
    assert read(tmp_path / "second", at_most=7).rows == [row for rows in found[:2] for row in rows]


def test_a_batch_that_could_not_be_written_does_not_count(tmp_path):
    stream = Stream(tmp_path / "rows")
    (tmp_path / "rows").unlink()
    (tmp_path / "rows").mkdir()
    with pytest.raises(OSError, match="directory"):
        stream.add([])
    assert stream.episodes == 0
