"""Workers that are killed, full disks and images that cannot be read: one line each, and nothing finished is lost."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from fsseg.data import EpisodeData, Folder
from tests.cli.conftest import QUICKSTART
from tests.cli.test_commands import ENVIRONMENT, FSSEG, LONG, read_until

OWN = (
    "--config", "experiments/quickstart.yaml", "--data.dataset", "Folder", "--data.root", "own_maps",
    "--data.size=24", "--data.batch_size=2", "--data.episodes=8", "--data.val_episodes=0",
    "--model.method.encoder.widths=[8,8]", "--model.method.encoder.strides=[2,2]", "--protocol.runs=2",
    "--protocol.episodes=20", "--protocol.size=24", "--trainer.accelerator=cpu", "--trainer.max_steps=24",
    "--data.augment=[{class_path: albumentations.HorizontalFlip}]",
)  # fmt: skip
SKIP = "--data.unreadable_images=skip"


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
def test_a_killed_worker_of_a_training_is_one_line_and_the_training_goes_on(fsseg, tmp_path):
    command = ["fit", *QUICKSTART, "--data.workers=2", *LONG[1:], "--checkpoint.save_top_k=0", "--resume"]
    options = ["--checkpoint.every_n_train_steps=10", "--out", str(tmp_path / "run")]
    process = subprocess.Popen([*FSSEG, *command, *options, "--trainer.max_steps=500"], stderr=subprocess.PIPE,
                               text=True, env=ENVIRONMENT)  # fmt: skip
    read_until(process, "training 50/500")
    kill_a_worker(process)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "fsseg: a process that loads data was killed" in err.splitlines()[-1]
    assert "Traceback" not in err
    step = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"]
    assert 50 <= step < 500
    end = f"--trainer.max_steps={step + 3}"
    assert fsseg(*command, *options, end, "--data.workers=0").code == 0
    assert fsseg(*command[:-1], "--out", "whole", end, "--data.workers=0").code == 0
    assert_same(tmp_path / "whole/last.ckpt", tmp_path / "run/last.ckpt")


def break_an_image(root):
    """Truncate one that the training's ninth episode or a later one shows first; returns its path and episodes."""
    data = EpisodeData(Folder(), root=str(root), size=24, episodes=48, workers=0)
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
    assert fsseg("fit", *OWN, "--data.workers=0", "--out", "whole").code == 0
    path, content, episodes = break_an_image(own_maps)
    ran = fsseg("fit", *OWN, "--data.workers=0", "--out", "run")
    assert ran.code == 2
    assert f"own_maps/images/{path.name} cannot be decoded" in ran.line
    assert ran.line.endswith("To leave out its episodes: --data.unreadable_images skip.")
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == episodes[0] // 2
    path.write_bytes(content)
    ran = fsseg("fit", *OWN, "--data.workers=0", "--out", "run", "--resume")
    assert ran.code == 0, ran.err
    assert_same(tmp_path / "whole/last.ckpt", tmp_path / "run/last.ckpt")


@pytest.mark.slow
def test_unreadable_images_are_skipped_and_counted_whatever_the_workers_and_resumes(fsseg, own_maps, tmp_path):
    path, _, episodes = break_an_image(own_maps)
    ran = fsseg("fit", *OWN, SKIP, "--data.workers=0", "--out", "whole")
    assert ran.code == 0, ran.err
    assert ran.err.count(f"an episode is skipped: image own_maps/images/{path.name} cannot be decoded") == 1
    were = f"{len(episodes)} training episodes were" if len(episodes) > 1 else "1 training episode was"
    assert f"note: {were} skipped, as images cannot be read" in ran.err
    half = episodes[0] // 2 + 1
    assert fsseg("fit", *OWN, SKIP, "--data.workers=2", "--out", "run", f"--trainer.max_steps={half}").code == 0
    ran = fsseg("fit", "--ckpt_path", "run/last.ckpt", SKIP, "--data.workers=1", "--trainer.max_steps=24")
    assert ran.code == 0, ran.err
    assert f"note: {were} skipped" in ran.err  # those before the resume too
    assert_same(tmp_path / "whole/last.ckpt", tmp_path / "run/last.ckpt")


@pytest.mark.slow
def test_a_test_leaves_out_episodes_with_unreadable_images_and_its_table_says_so(fsseg, own_maps, tmp_path):
    untrained = ("test", *OWN, "--untrained", "--data.workers=0")
    assert fsseg(*untrained, "--out", "whole").code == 0
    rows = (tmp_path / "whole/rows.csv").read_text().splitlines()
    name = rows[1].split(",")[9]  # the first query
    path = next((own_maps / "images").glob(f"{name}.*"))
    path.write_bytes(b"")
    ran = fsseg(*untrained, "--out", "refused")
    assert (ran.code, path.name in ran.line) == (2, True)
    ran = fsseg(*untrained, SKIP, "--out", "left", "--data.test_batch_size=3")
    assert ran.code == 0, ran.err
    names = {tuple(row.split(",")[:2]) for row in rows[1:] if name in [*row.split(",")[8].split(), row.split(",")[9]]}
    kept = [row for row in rows if tuple(row.split(",")[:2]) not in names]
    assert (tmp_path / "left/rows.csv").read_text().splitlines() == kept
    notes = json.loads((tmp_path / "left/table.json").read_text())["notes"]
    assert f"only {40 - len(names)} of 40 episodes were tested" in notes
    assert any(note.startswith(f"{len(names)} episodes were left out, as images cannot be read") for note in notes)
