"""Progress without a terminal: a few plain lines on standard error."""

import pytest

from fsseg.progress import Progress, tracked


def test_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("masks of x:", 200, "masks", terminal=False) as step:
        for _ in range(200):
            step.add(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"masks of x: {done} of 200 masks" for done in range(20, 201, 20)]


def test_few_items_have_no_lines_but_bytes_do(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("unpacking a.zip:", 99, "files", terminal=False) as step:
        step.to(99)
    assert capsys.readouterr().err == ""
    with Progress("checking a.zip:", 5e9, "GB", terminal=False) as step:
        step.to(1e9)
    assert capsys.readouterr().err.startswith("checking a.zip: 1.00 of 5.00 GB, ")


def test_another_process_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 10, shown=False) as step:
        step.to(10, "10/10")
    assert capsys.readouterr().err == ""


def test_a_step_goes_on_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 100, done=45, terminal=False) as step:
        for done in (46, 50):
            step.to(done, f"{done}/100")
    assert capsys.readouterr().err == "training 50/100\n"


def test_a_bar_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 10, terminal=True) as step:
        step.to(5, "5/10")
    assert step.done == 5
    assert "\n5/10" not in capsys.readouterr().out


def test_many_items_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked(range(3), "index")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    assert len(list(tracked(range(1000), "index of 1,000 masks"))) == 1000
    assert capsys.readouterr().err == "index of 1,000 masks\n"
