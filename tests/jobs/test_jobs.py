"""The engines, with jobs that are small programs."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsseg.errors import FssegError
from fsseg.jobs.job import Job, chains
from fsseg.jobs.local import alone, deal, duration, run_local
from fsseg.jobs.plan import Plan, plan_text
from fsseg.jobs.slurm import slurm_script
from tests.conftest import needs


@dataclass(frozen=True)
class Program(Job):
    """A job that is a line of Python instead of a command of ours."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", *self.arguments]


def program(folder: Path, name: str, code: str = "", after: tuple[str, ...] = ()) -> Program:
    done = folder / f"{name}.done"
    return Program(name, (f"{code}\nopen({str(done)!r}, 'w').close()",), (done,), after)


def states(outcomes) -> dict[str, str]:
    return {outcome.job.name: outcome.state for outcome in outcomes}


@pytest.mark.slow
def test_jobs_run_after_those_they_wait_for_and_a_failure_stops_only_what_hangs_on_it(tmp_path):
    order = tmp_path / "order"
    note = "open({!r}, 'a').write({!r})"
    jobs = [
        program(tmp_path, "test", note.format(str(order), "test "), ("fit",)),
        program(tmp_path, "fit", note.format(str(order), "fit ")),
        program(tmp_path, "broken", "raise SystemExit('fsseg: class 17 has 4 images.')"),
        program(tmp_path, "left", after=("broken",)),
        program(tmp_path, "left too", after=("left",)),
    ]
    told: list[str] = []
    outcomes = run_local(jobs, tmp_path, workers=2, threads=1, tell=told.append)
    assert states(outcomes) == {"test": "done", "fit": "done", "broken": "failed", "left": "left", "left too": "left"}
    assert order.read_text() == "fit test "
    failed = outcomes[2]
    assert failed.message == "fsseg: class 17 has 4 images."
    assert "class 17" in failed.log.read_text()
    assert any("FAILED" in line for line in told)


@pytest.mark.slow
def test_a_second_start_does_only_what_is_left(tmp_path):
    jobs = [program(tmp_path, "once"), program(tmp_path, "other", f"open({str(tmp_path / 'gate')!r})")]
    assert states(run_local(jobs, tmp_path, 1, 1, str)) == {"once": "done", "other": "failed"}
    (tmp_path / "gate").touch()
    assert states(run_local(jobs, tmp_path, 1, 1, str)) == {"once": "before", "other": "done"}


def test_workers_run_at_the_same_time_with_their_threads_and_devices(tmp_path):
    wait = "import os, time; [time.sleep(.01) for _ in range(500) if not os.path.exists({!r})]; "
    wait += "print(os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [
        program(tmp_path, "a", f"open({str(tmp_path / 'a')!r}, 'w')\n" + wait.format(str(tmp_path / "b"))),
        program(tmp_path, "b", f"open({str(tmp_path / 'b')!r}, 'w')\n" + wait.format(str(tmp_path / "a"))),
    ]
    begun = time.monotonic()
    assert set(states(run_local(jobs, tmp_path, 2, 3, str, devices=("0", "1"))).values()) == {"done"}
    assert time.monotonic() - begun < 4  # each waits for the other
    assert {(tmp_path / "logs" / f"{name}.log").read_text().strip() for name in "ab"} == {"3 0", "3 1"}


@pytest.mark.parametrize(
    ("count", "workers", "each", "visible", "dealt"),
    [
        (0, 4, 1, "", ()),
        (4, 1, 2, "", ()),  # one job at a time sees them all
        (2, 3, 1, "", ("0", "1", "0")),
        (4, 2, 2, "", ("0,1", "2,3")),
        (2, 2, 1, "5,7", ("5", "7")),
        (2, 2, 4, "", ("0,1", "0,1")),
    ],
)
def test_gpus_are_dealt_out(monkeypatch, count, workers, each, visible, dealt):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert deal(count, workers, each) == dealt


def test_done_without_its_file_is_a_failure(tmp_path):
    job = Program("empty", ("pass",), (tmp_path / "never",))
    assert states(run_local([job], tmp_path, 1, 1, str)) == {"empty": "failed"}


@pytest.mark.slow
def test_one_runner_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("fsseg.jobs.local._PATIENCE", 1.0)
    said: list[str] = []
    with alone(tmp_path, said.append), pytest.raises(FssegError, match="another command uses this folder"):  # noqa: SIM117
        with alone(tmp_path, said.append):
            pass
    assert said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death")
def test_no_job_outlives_a_killed_runner(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.jobs.test_jobs import program
from fsseg.jobs.local import run_local
folder = Path({str(tmp_path)!r})
job = program(folder, "long", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
run_local([job], folder, 1, 1, str)
"""
    runner = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "logs/long.log"
    _until(lambda: log.is_file() and log.read_text().strip())
    child = int(log.read_text())
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    _until(lambda: not _alive(child))
    with alone(tmp_path, str):  # and the folder is free
        pass


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"  # ended, and not yet waited for


def _until(true) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def _pretend_done(jobs) -> None:
    for path in [path for job in jobs for path in job.done]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def plan(out: Path, **more) -> Plan:
    values = {"folds": (0, 1), "shots": (1, 5), "seeds": (0, 1), **more}
    return Plan(("--config", "x.yaml", "--data.root", "a b"), out, **values)


def test_a_plan_of_trainings_for_each_number_of_shots(tmp_path):
    jobs = plan(tmp_path).jobs()
    assert len(jobs) == 16
    fit, test = jobs[:2]
    assert (fit.name, test.name, test.after) == ("fold0-1shot-seed0/fit", "fold0-1shot-seed0/test-1shot", (fit.name,))
    assert {"--data.fold=0", "--data.shot=1", "--data.test_shot=1", "--seed_everything=0", "--resume"} <= {
        *fit.arguments
    }
    assert f"--ckpt_path={tmp_path / 'fold0-1shot-seed0' / 'last.ckpt'}" in test.arguments


def test_a_plan_of_one_training_for_all_shots_and_annotations(tmp_path):
    jobs = plan(tmp_path, train_shot=1, annotations=("mask", "box"), checkpoint="best.ckpt").jobs()
    assert len(jobs) == 4 * (1 + 4)
    names = [job.name.removeprefix("fold0-seed0/") for job in jobs[:5]]
    assert names == ["fit", "test-1shot-mask", "test-1shot-box", "test-5shot-mask", "test-5shot-box"]
    assert all(f"--ckpt_path={tmp_path / 'fold0-seed0' / 'best.ckpt'}" in job.arguments for job in jobs[1:5])


def test_untrained_networks_are_only_tested(tmp_path):
    jobs = plan(tmp_path, untrained=True).jobs()
    assert len(jobs) == 8
    assert all("--untrained" in job.arguments and not job.after for job in jobs)


def test_the_plan_says_what_is_done(tmp_path):
    made = plan(tmp_path, seeds=(0,))
    jobs = made.jobs()
    _pretend_done(jobs[:2])
    (tmp_path / "fold1-1shot-seed0").mkdir()
    (tmp_path / "fold1-1shot-seed0/last.ckpt").touch()
    text = plan_text(made, "x")
    assert "2 folds x 2 shots x 1 seed: 4 trainings, 4 tests" in text
    assert "2 of 8 done" in text
    lines = [line.split() for line in text.splitlines()[3:]]
    assert lines[0] == ["0", "1", "0", "done", "1shot", "done"]
    assert lines[1][:4] == ["1", "1", "0", "started"]
    assert lines[2] == ["0", "5", "0", "to", "do", "5shot", "to", "do"]


def test_chains_are_a_training_and_its_tests(tmp_path):
    found = chains(plan(tmp_path, train_shot=1).jobs())
    assert [len(chain) for chain in found] == [3] * 4
    assert [len(chain) for chain in chains(plan(tmp_path, untrained=True).jobs())] == [1] * 8


def test_the_slurm_script_runs_one_element_of_what_is_left(tmp_path):
    made = plan(tmp_path, seeds=(0,))
    jobs = made.jobs()
    _pretend_done(jobs[:2])
    script = slurm_script(jobs, tmp_path, "x", threads=3)
    assert "#SBATCH --array=0-2" in script
    assert "#SBATCH --cpus-per-task=3" in script
    assert "OMP_NUM_THREADS=3" in script
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "fsseg").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    (bin_folder / "fsseg").chmod(0o755)
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "0"}
    ran = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [word for job in jobs[2:4] for word in job.arguments]


@pytest.mark.parametrize(("seconds", "text"), [(7.2, "0:07"), (61, "1:01"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.fixture(scope="module")
def ray_cluster():
    """A local one of two cores."""
    ray = needs("ray", "ray")
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=environment)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_jobs_on_a_local_ray_cluster(tmp_path):
    from fsseg.jobs.ray import run_ray

    lost = f"import os, signal\nif not os.path.exists({str(tmp_path / 'tried')!r}):\n"
    lost += f"    open({str(tmp_path / 'tried')!r}, 'w').close(); os.kill(os.getppid(), signal.SIGKILL)\n"
    lost += "    raise SystemExit(1)"
    jobs = [
        program(tmp_path, "fit"),
        program(tmp_path, "test", f"open({str(tmp_path / 'fit.done')!r})", ("fit",)),
        program(tmp_path, "broken", "raise SystemExit('no')"),
        program(tmp_path, "left", after=("broken",)),
        program(tmp_path, "its worker dies once", lost),
    ]
    outcomes = run_ray(jobs, tmp_path, 1, str)
    assert states(outcomes) == {
        "fit": "done", "test": "done", "broken": "failed", "left": "left", "its worker dies once": "done",
    }  # fmt: skip
    assert outcomes[2].message == "no"
    assert states(run_ray(jobs[:2], tmp_path, 1, str)) == {"fit": "before", "test": "before"}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_ray_refuses_what_no_machine_of_the_cluster_has(tmp_path):
    from fsseg.jobs.ray import run_ray

    for wanted in ({"threads": 1, "gpus": 1.0}, {"threads": 3}):
        with pytest.raises(FssegError, match="no machine of the cluster has more than 0 and 2"):
            run_ray([program(tmp_path, "a")], tmp_path, tell=str, **wanted)


def test_ray_missing_is_said(tmp_path, monkeypatch):
    from fsseg.jobs.ray import run_ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FssegError, match=r"pip install 'fsseg\[ray\]'"):
        run_ray([], tmp_path, 1, str)


def test_fold_and_seed_of_a_job_in_its_words(tmp_path):
    words = ("--model.weights=head/fold{fold}-seed{seed}/last.ckpt", "--data.root=a{b}")
    jobs = Plan(words, tmp_path, folds=(1, 3), shots=(5,), seeds=(2,)).jobs()
    for job, fold in zip(jobs, (1, 1, 3, 3), strict=True):
        assert f"--model.weights=head/fold{fold}-seed2/last.ckpt" in job.arguments
        assert "--data.root=a{b}" in job.arguments
