"""Workers that are killed, full disks and images that cannot be read: one line each, and nothing finished is lost."""

import json
import os
import re
import signal
import tempfile
from pathlib import Path

import pytest
import torch

from fsseg.cli import main
from fsseg.datasets import Folder
from fsseg.episodes import EpisodeData, EpisodeOptions, ImageOptions, LoadingOptions
from fsseg.runs import folders
from tests.cli.conftest import QUICKSTART, small_files
from tests.cli.test_commands import LONG, read_until

OWN = (
    "--config", "experiments/quickstart.yaml", "--data.dataset", "Folder", "--data.root", "own_maps",
    "--data.images.size=24", "--data.batch_size=2", "--data.episodes.train=8", "--data.episodes.val=0",
    "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]", "--protocol.runs=2",
    "--protocol.episodes=20", "--protocol.size=24", "--trainer.accelerator=cpu", "--trainer.max_steps=24",
    "--data.images.augment=[{class_path: albumentations.HorizontalFlip}]",
)  # fmt: skip
SKIP = "--data.loading.unreadable_images=skip"


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same(one, other):
    one, other = weights(one), weights(other)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def kill_a_worker(process):
    """One of the processes that load data for another."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    loaders = [int(pid) for pid in children if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(loaders[-1], signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_of_a_training_is_one_line_and_the_training_goes_on(fsseg, begin, tmp_path):
    command = ["fit", *QUICKSTART, "--data.loading.workers=2", "--data.episodes.train=1000", *LONG[1:],
               "--checkpoint.save_top_k=0",
               "--resume"]  # fmt: skip
    options = ["--checkpoint.every_n_train_steps=10", "--out", str(tmp_path / "run")]
    process = begin([*command, *options, "--trainer.max_steps=500"])
    read_until(process, "training 50/500")
    kill_a_worker(process)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "fsseg: a process that loads data was killed" in err.splitlines()[-1]
    assert "Traceback" not in err
    step = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"]
    assert 50 <= step < 500
    end = f"--trainer.max_steps={step + 3}"
    assert fsseg(*command, *options, end, "--data.loading.workers=0").code == 0
    assert fsseg(*command[:-1], "--out", "whole", end, "--data.loading.workers=0").code == 0
    assert_same(tmp_path / "whole/last.ckpt", tmp_path / "run/last.ckpt")


def break_an_image(root):
    """Truncate one that the training's ninth episode or a later one shows first; returns its path and episodes."""
    data = EpisodeData(
        Folder(),
        root=str(root),
        images=ImageOptions(size=24),
        episodes=EpisodeOptions(train=48),
        loading=LoadingOptions(workers=0),
    )
    data.setup("fit")
    shown = {}
    for position, batch in enumerate(data.train_dataloader()):
        for number in {*batch.support_id.flatten().tolist(), *batch.query_id.flatten().tolist()}:
            shown.setdefault(number, []).append(position)
    number, episodes = max(shown.items(), key=lambda found: found[1][0])
    assert episodes[0] >= 8
    path = next((root / "images").glob(f"{data.dataset.image_name(number)}.*"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path, content, episodes


@pytest.mark.slow
def test_an_unreadable_image_stops_a_training_by_name_and_once_mended_it_ends_as_if_nothing_had_been(
    fsseg, own_maps, tmp_path
):
    assert fsseg("fit", *OWN, "--data.loading.workers=0", "--out", "whole").code == 0
    path, content, episodes = break_an_image(own_maps)
    ran = fsseg("fit", *OWN, "--data.loading.workers=0", "--out", "run")
    assert ran.code == 2
    assert f"own_maps/images/{path.name} cannot be decoded" in ran.line
    assert ran.line.endswith("To leave out its episodes: --data.loading.unreadable_images skip.")
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == episodes[0] // 2
    path.write_bytes(content)
    ran = fsseg("fit", *OWN, "--data.loading.workers=0", "--out", "run", "--resume")
    assert ran.code == 0, ran.err
    assert_same(tmp_path / "whole/last.ckpt", tmp_path / "run/last.ckpt")


@pytest.mark.slow
def test_unreadable_images_are_skipped_and_counted_whatever_the_workers_and_resumes(fsseg, own_maps, tmp_path):
    path, _, episodes = break_an_image(own_maps)
    ran = fsseg("fit", *OWN, SKIP, "--data.loading.workers=0", "--out", "whole")
    assert ran.code == 0, ran.err
    assert ran.err.count(f"an episode is skipped: image own_maps/images/{path.name} cannot be decoded") == 1
    were = f"{len(episodes)} training episodes were" if len(episodes) > 1 else "1 training episode was"
    assert f"note: {were} skipped: their images cannot be read" in ran.err
    half = episodes[0] // 2 + 1
    assert fsseg("fit", *OWN, SKIP, "--data.loading.workers=2", "--out", "run", f"--trainer.max_steps={half}").code == 0
    ran = fsseg("fit", "--ckpt_path", "run/last.ckpt", SKIP, "--data.loading.workers=1", "--trainer.max_steps=24")
    assert ran.code == 0, ran.err
    assert f"note: {were} skipped" in ran.err  # those before the resume too
    assert_same(tmp_path / "whole/last.ckpt", tmp_path / "run/last.ckpt")


@pytest.mark.slow
def test_a_test_stops_at_an_unreadable_image_and_goes_on_or_leaves_its_episodes_out_and_says_so(
    fsseg, own_maps, tmp_path
):
    kept = ("test", *OWN, "--untrained", "--data.loading.workers=0")
    untrained = (*kept, "--data.loading.cache_features=false")
    assert fsseg(*untrained, "--out", "whole").code == 0
    rows = (tmp_path / "whole/rows.csv").read_text().splitlines()
    shown = [{*row.split(",")[8].split(), row.split(",")[9]} for row in rows]
    name = min(shown[-1], key=lambda name: sum(name in names for names in shown))
    path = next((own_maps / "images").glob(f"{name}.*"))
    content = path.read_bytes()
    path.write_bytes(b"")
    ran = fsseg(*kept, "--out", "run")  # images are encoded before the first episode
    assert (ran.code, path.name in ran.line, "--data.loading.unreadable_images skip" in ran.line) == (2, True, True)
    assert not (tmp_path / "run").exists()
    ran = fsseg(*untrained, "--out", "run")
    assert (ran.code, path.name in ran.line) == (2, True)
    assert re.search(r"fsseg: \d+ of 40 episodes are saved", ran.err)
    ran = fsseg(*untrained, SKIP, "--out", "left", "--data.loading.test_batch_size=3")
    assert ran.code == 0, ran.err
    without = {tuple(row.split(",")[:2]) for row, names in zip(rows, shown, strict=True) if name in names}
    kept = [row for row in rows if tuple(row.split(",")[:2]) not in without]
    assert (tmp_path / "left/rows.csv").read_text().splitlines() == kept
    notes = json.loads((tmp_path / "left/table.json").read_text())["notes"]
    were = "1 episode was" if len(without) == 1 else f"{len(without)} episodes were"
    assert f"only {40 - len(without)} of 40 episodes were tested" in notes
    assert any(note.startswith(f"{were} left out: images cannot be read") for note in notes)
    path.write_bytes(content)
    ran = fsseg(*untrained, "--out", "run", "--resume")
    assert ran.code == 0, ran.err
    assert "resuming after" in ran.err
    assert (tmp_path / "run/rows.csv").read_text().splitlines() == rows


def of_200(trained, *more):
    """A test of 200 episodes, 400 rows."""
    return ("test", "--ckpt_path", str(trained), "--protocol.episodes=100", "--data.loading.test_batch_size=8", *more)


@pytest.fixture(scope="module")
def whole_test(trained):
    """Its folder, written without a fault."""
    out = trained.parent / "without-fault"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FSSEG_RUN_FOLDER", raising=False)
        assert main(list(of_200(trained, "--out", str(out)))) == 0
    return out


def hidden(folder, name):
    return sorted(folder.glob(f".{name}-*"))


@pytest.mark.slow
def test_a_test_goes_on_to_the_same_rows_when_its_worker_and_then_itself_was_killed(fsseg, begin, trained, tmp_path):
    long = [
        "--protocol.runs=1",
        "--protocol.episodes=200",
        "--data.loading.test_batch_size=1",
        "--data.loading.workers=2",
    ]
    command = ["test", "--ckpt_path", str(trained), *long]

    process = begin([*command, "--out", "run"])
    read_until(process, "test 20/200")
    kill_a_worker(process)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "fsseg: a process that loads data was killed" in err.splitlines()[-1]
    assert "of 200 episodes are saved; the same command with --resume --out run resumes there" in err
    process = begin([*command, "--out", "run", "--resume"])
    read_until(process, "resuming after")
    read_until(process, "test ")
    process.kill()
    process.communicate(timeout=60)
    assert not (tmp_path / "run").exists()
    for options in (("--out", "run", "--resume"), ("--out", "whole")):
        ran = fsseg(*command, *options)
        assert (ran.code, "resuming after" in ran.err) == (0, options[1] == "run"), ran.err
    for name in ("rows.csv", "table.json", "episodes.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not hidden(tmp_path, "run")


@pytest.mark.slow
@pytest.mark.parametrize(("size", "what"), [(5_000, "rows.part"), (32_000, "rows.csv")])
def test_a_full_disk_under_a_test_costs_a_batch_at_most(fsseg, trained, whole_test, tmp_path, size, what):
    """The first limit is reached while rows come in, the second when all of them have."""
    with small_files(size):
        ran = fsseg(*of_200(trained, "--out", "run"))
    assert ran.code == 1
    assert re.search(rf"{what} cannot be written: File too large\. Make room\.$", ran.line), ran.err
    done = int(re.search(r"fsseg: (\d+) of 200 episodes are saved", ran.err)[1])
    assert done == 200 if what == "rows.csv" else 0 < done < 200
    (left,) = hidden(tmp_path, "run")
    ran = fsseg(*of_200(trained, "--out", "run", "--resume"))
    assert ran.code == 0, ran.err
    assert f"resuming after {min(done, 192)} episodes" in ran.err
    for name in ("rows.csv", "table.json", "table.md", "episodes.json"):
        assert (tmp_path / "run" / name).read_bytes() == (whole_test / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, left


@pytest.mark.slow
def test_a_picture_that_cannot_be_written_costs_a_picture_only(fsseg, trained, whole_test, tmp_path):
    sizes = {path.name: path.stat().st_size for path in whole_test.iterdir()}
    limit = max(size for name, size in sizes.items() if name != "episodes.png") + 2_000
    assert sizes["episodes.png"] > limit
    with small_files(limit):
        ran = fsseg(*of_200(trained, "--out", "run"))
    assert ran.code == 0, ran.err
    assert "note: no episodes.png" in ran.err
    assert "File too large" in ran.err
    assert {path.name for path in (tmp_path / "run").iterdir()} == sizes.keys() - {"episodes.png"}
    assert "episodes.png" not in ran.out
    assert (tmp_path / "run/rows.csv").read_bytes() == (whole_test / "rows.csv").read_bytes()


@pytest.mark.slow
def test_rows_of_another_checkpoint_or_another_test_are_not_gone_on_from(fsseg, trained, tmp_path):
    for more in ("--protocol.seed=7", "--data.test_shot=2", "--model.method.scale=3"):
        with small_files(5_000):
            assert fsseg(*of_200(trained, "--out", "run")).code == 1
        assert len(hidden(tmp_path, "run")) == 1
        ran = fsseg(*of_200(trained, more, "--out", "run", "--resume"))
        assert (ran.code, "resuming after" in ran.err) == (0, False)
        assert not hidden(tmp_path, "run")
        (tmp_path / "run").rename(tmp_path / more)


MACHINE = (
    "--data.loading.cache_memory=1", "--data.loading.cache_features=false", "--data.batch_size=4",
    "--data.episodes.val=9", "--data.loading.workers=0",
    "--data.loading.test_batch_size=3", "--trainer.enable_progress_bar=false", "--trainer.precision=32",
    "--model.optimizer.lr=0.5", "--trainer.max_steps=99",
)  # fmt: skip


@pytest.mark.slow
def test_rows_of_a_stopped_test_stay_its_rows_whatever_the_machine_and_the_training_are_told(
    fsseg, trained, whole_test, tmp_path
):
    with small_files(8_000):
        ran = fsseg(*of_200(trained, "--out", "run"))
    done = int(re.search(r"fsseg: (\d+) of 200 episodes are saved", ran.err)[1])
    assert 0 < done < 200
    ran = fsseg(*of_200(trained, "--out", "run", "--resume"), *MACHINE)
    assert ran.code == 0, ran.err
    assert f"resuming after {done} episodes" in ran.err
    assert (tmp_path / "run/rows.csv").read_bytes() == (whole_test / "rows.csv").read_bytes()


@pytest.mark.slow
def test_rows_are_kept_beside_another_test_until_that_is_finished_and_a_line_says_why(
    fsseg, trained, whole_test, tmp_path
):
    def stopped(*more):
        with small_files(5_000):
            return fsseg(*of_200(trained, *more, "--out", "run", "--resume"))

    assert stopped().code == 1
    ran = stopped("--protocol.seed=7")
    assert "of another test (--protocol.seed was 1234, now 7): this test restarts" in ran.err
    assert len(hidden(tmp_path, "run")) == 2
    ran = fsseg(*of_200(trained, "--out", "run", "--resume"))
    assert ran.code == 0, ran.err
    assert "resuming after" in ran.err
    assert (tmp_path / "run/rows.csv").read_bytes() == (whole_test / "rows.csv").read_bytes()
    assert not hidden(tmp_path, "run")


@pytest.mark.slow
def test_a_full_disk_under_a_training_is_one_line_and_leaves_the_checkpoints_before(fsseg, tmp_path):
    """So does a real disk (benchmarks/full_disk.py)."""
    fit = ("fit", *QUICKSTART, "--trainer.max_steps=6", "--checkpoint.every_n_train_steps=2", "--out", "run")
    assert fsseg(*fit, "--trainer.max_steps=4").code == 0
    (tmp_path / "run/run.json").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.ckpt")}
    with small_files(20_000):
        ran = fsseg(*fit, "--resume")
    assert ran.code == 1
    assert "run/.last.ckpt.part cannot be written: File too large. Make room." in ran.line
    assert "resume with --resume" in ran.line
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*.ckpt")} == before
    assert not list((tmp_path / "run").glob(".*"))
    ran = fsseg(*fit, "--resume")
    assert ran.code == 0, ran.err
    assert "trained to step 6" in ran.out


def test_a_folder_of_results_is_not_taken_for_one_that_was_left_behind(monkeypatch, tmp_path):
    """Where mkdtemp gives an absolute path for a relative one, as since Python 3.12, and where it does not."""
    monkeypatch.chdir(tmp_path)
    made = tempfile.mkdtemp
    for way in (os.path.abspath, os.path.relpath):
        monkeypatch.setattr(tempfile, "mkdtemp", lambda way=way, **options: way(made(**options)))
        with folders.result_folder(Path("out")) as part:
            assert folders.left_behind(Path("out")) == [part]
            assert folders.left_behind(Path("out"), but=part) == []
