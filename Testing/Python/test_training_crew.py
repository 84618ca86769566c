"""Several processes that train one network: the gradients of one, the same decisions, one set of files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import moving_ellipse

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.process import CANCELLED
from SliceInterpolationLib.progress import Reporter
from SliceInterpolationTrainerLib import devices
from SliceInterpolationTrainerLib.course import Scans, run_recipe
from SliceInterpolationTrainerLib.devices import Crew, first_node, in_a_crew, join, launch
from SliceInterpolationTrainerLib.recipe import find_recipe

SCRIPT = """
import sys
import numpy as np
import torch
from conftest import moving_ellipse
from SliceInterpolationTrainerLib.data import Stack
from SliceInterpolationTrainerLib.devices import join
from SliceInterpolationTrainerLib.tasks import build_task
from SliceInterpolationTrainerLib.training import Training, TrainingConfig

torch.set_num_threads(1)
crew = join("cpu")
rng = np.random.default_rng(0)
voxels = (moving_ellipse(24, 64, 0.5) + rng.normal(0, 8, (24, 64, 64))).round().astype(np.int16)
found = {}
for kind, architecture, config, options in (
    ("slices", "msi-unet", {"channels": 4}, {"loss": "ssim+l1"}),
    ("adversarial", "msi-gan", {"channels": 4, "blocks": 1}, {}),
    ("saint-ami", "saint", {"ami": {"features": 8, "blocks": 1, "layers": 1, "growth": 4}, "fuse": False}, {}),
):
    torch.manual_seed(0)
    task = build_task(kind, architecture, config, options)
    examples = {"slices": 4, "factors": [2, 3]} if kind == "saint-ami" else {}
    sampler = task.sampler([Stack("a", voxels, 1.0, 0.5, 1.0, (-1000.0, 800.0))], 3, patch=32, **examples)
    training = Training(task, TrainingConfig(steps=2, batch=4, clip=None), crew)
    for optimizer in training.optimizers:
        optimizer.step = lambda: None
    training.step(sampler.batch(0, 4, (crew.rank, crew.size)))
    assert training.guard.skipped == 0
    found[kind] = [weight.grad for learner in task.learners for weight in learner.parameters()]
if crew.leads:
    torch.save(found, sys.argv[1])
crew.leave()
"""


@pytest.fixture
def environment(monkeypatch) -> None:
    """Our packages and the tests' own module for other processes, and no crew around this one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
    for name in (*devices._TORCHRUN, "SLURM_PROCID", "SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)


def test_two_processes_have_the_gradients_of_one(tmp_path, environment):
    (tmp_path / "script.py").write_text(SCRIPT)
    found = []
    for count in (1, 2):
        assert launch(count, [str(tmp_path / "script.py"), str(tmp_path / f"{count}.pt")]) == 0
        found.append(torch.load(tmp_path / f"{count}.pt", weights_only=True))
    for kind, alone in found[0].items():
        one, two = (torch.cat([part.flatten() for part in parts]) for parts in (alone, found[1][kind]))
        assert one.norm() > 1e-3
        assert (one - two).norm() < 1e-4 * one.norm(), kind  # but for the order in which numbers are added up


STAGE = {
    "name": "small",
    "network": "msi-unet",
    "config": {"channels": 4},
    "options": {"loss": "l1"},
    "examples": {"patch": 32},
    "training": {"batch": 4, "warmup_steps": 2, "checkpoint_steps": 4},
}


@pytest.fixture
def command(tmp_path, environment) -> list[str]:
    """The training command for a small network on two scans."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        voxels = moving_ellipse(20, 64, 0.5) + rng.normal(0, 8, (20, 64, 64))
        image = sitk.GetImageFromArray(voxels.round().astype(np.int16))
        image.SetSpacing((0.8, 0.8, 2.0))
        (tmp_path / "data").mkdir(exist_ok=True)
        sitk.WriteImage(image, str(tmp_path / "data" / f"{name}.nrrd"))
    (tmp_path / "small.yaml").write_text(json.dumps({"title": "Small", "stages": [STAGE]}))
    made = [sys.executable, "-m", "SliceInterpolationTrainerLib", "train", str(tmp_path / "small.yaml")]
    return [*made, "--data", str(tmp_path / "data"), "--device", "cpu", "--threads", "1", "--workers", "0"]


def test_the_command_trains_with_two_processes_as_with_one(command, tmp_path):
    ends = []
    for count in (1, 2):
        run = tmp_path / f"run{count}"
        done = subprocess.run(
            [*command, "--steps", "6", "--devices", str(count), "--output", str(run)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("small: step 4") == 1
        content = torch.load(run / "checkpoint.pt", weights_only=True)
        assert content["state"]["step"] == 6
        assert content["best"]["psnr"] > 0
        ends.append(content["network"])
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], rtol=0, atol=2e-3)


def test_asked_to_stop_a_crew_writes_a_checkpoint_and_goes_on(command, tmp_path):
    run = tmp_path / "run"
    command = [*command, "--steps", "100000", "--devices", "2", "--output", str(run)]
    crew = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        if (run / "log.jsonl").is_file() or crew.poll() is not None:
            break
        time.sleep(0.1)
    crew.send_signal(signal.SIGTERM)
    assert crew.wait(120) == CANCELLED, crew.stderr.read()
    assert "the same command goes on" in crew.stderr.read()
    assert torch.load(run / "checkpoint.pt", weights_only=True)["state"]["step"] > 0


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(InputError, match="A batch of 4 cannot be shared by 3 processes"):
        run_recipe(
            find_recipe("msi-cnn"), Scans([], [], []), tmp_path, Crew(size=3), Reporter("none"), steps=2
        )


# Who is who


def test_slurm_says_who_is_who(environment, monkeypatch):
    assert not in_a_crew()
    assert join("cpu") == Crew(torch.device("cpu"))
    job = {
        "SLURM_JOB_ID": "4711",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NTASKS": "4",
        "SLURM_STEP_NODELIST": "gpu[03-04]",
        "SLURM_NODELIST": "gpu[03-04]",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert not in_a_crew()  # the batch script itself, without srun
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert in_a_crew()
    place = devices._place()
    assert place == {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu03", "MASTER_PORT": str(15000 + 4711),
    }  # fmt: skip
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert not in_a_crew()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu03", "gpu03"),
        ("gpu[03-05,9],big1", "gpu03"),
        ("a1,b2", "a1"),
        ("node-x[7,9]", "node-x7"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_a_device_that_is_not_there_is_said(environment):
    with pytest.raises(InputError, match="no device"):
        join("quantum")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="cannot be used"):
            join("cuda")


def test_a_process_that_fails_ends_the_crew(tmp_path, environment):
    script = tmp_path / "script.py"
    script.write_text("import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(7)\ntime.sleep(60)\n")
    started = time.monotonic()
    assert launch(2, [str(script)]) == 7
    assert time.monotonic() - started < 30
