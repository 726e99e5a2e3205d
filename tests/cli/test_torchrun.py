"""Several processes as a user starts them: one log, one message when they end too early, and a run that goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ardtool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found through /proc"),
]
SETTINGS: dict[str, Any] = {"data": "x.npy", "latent": 3, "epochs": 300}
TRAIN = ("train", "--data", "x.npy", "--latent", "3", "--epochs", "300", "--out", "run")
PATIENCE = 120  # seconds


@pytest.fixture(autouse=True)
def _data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.save("x.npy", random.normal(size=(300, 2)) @ random.normal(size=(2, 6)))


def torchrun(size: int, *arguments: str) -> subprocess.Popen[str]:
    return started(size, "-m", "ardtool", *arguments)


def started(size: int, *arguments: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    return subprocess.Popen([*launcher, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def process_of(launcher: subprocess.Popen[str], rank: int) -> int:
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    variables = {int(child): Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    return next(child for child, environment in variables.items() if f"RANK={rank}".encode() in environment)


def said(stderr: str) -> list[str]:
    """The lines that ardtool says about an end, among all that torchrun says."""
    return re.findall(r"^(?:error|interrupted|Interrupted).*$", stderr, re.MULTILINE)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_with_one_message_and_a_run_that_goes_on(rank):
    launcher = torchrun(2, *TRAIN)
    until = time.monotonic() + PATIENCE
    while not Path("run/resume/state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process_of(launcher, rank), signal.SIGKILL)
    _, stderr = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode != 0
    (message,) = said(stderr)
    assert re.fullmatch(rf"error: Process {rank} of 2 \(counted from 0\) ended; the run stopped in epoch \d+ of 300\.", message)
    assert "hint: Continue with: torchrun --nproc-per-node 2 -m ardtool train --resume --out run\n" in stderr
    result = ardtool.train(**SETTINGS, out="run", resume=True)  # with one process
    assert result.epochs == 300 and not result.repeated
    epochs = [json.loads(line)["epoch"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, 301))


def test_an_error_of_all_is_said_once():
    launcher = torchrun(2, "train", "--data", "no.npy")
    _, stderr = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode != 0
    (line,) = said(stderr)
    assert "'no.npy' does not exist" in line


def test_a_script_may_catch_an_error_and_go_on():
    Path("script.py").write_text(
        "import ardtool\n"
        "say = lambda text: print(f'{text}\\n', end='')  # in one piece: both processes write to one pipe\n"
        "try:\n"
        "    ardtool.train(data='x.npy', latent=1000)\n"
        "except ardtool.ArdtoolError as error:\n"
        "    say(error.message)\n"
        "say(ardtool.train(data='x.npy', latent=3, epochs=3, out='run').epochs)\n"
    )
    stdout, stderr = started(2, "script.py").communicate(timeout=PATIENCE)
    lines = stdout.splitlines()
    assert len(lines) == 4 and lines.count("3") == 2, stderr
    assert sum("more latent axes than the 270 training samples" in line for line in lines) == 2


def test_one_result_as_of_one_process():
    alone = ardtool.train(**SETTINGS | {"epochs": 3}, out="alone").to_dict()
    stdout, _ = torchrun(2, *TRAIN, "--epochs", "3", "--json").communicate(timeout=PATIENCE)
    together = json.loads(stdout)
    assert together["run"] == "run" and together["active"] == alone["active"]
    assert together["validation_mse"] == pytest.approx(alone["validation_mse"], rel=1e-4)
    stdout, _ = torchrun(3, "relevance", "run", "--json").communicate(timeout=PATIENCE)
    shared, own = json.loads(stdout), ardtool.relevance("run").to_dict()
    assert [axis["score"] for axis in shared["axes"]] == pytest.approx([axis["score"] for axis in own["axes"]], rel=1e-6)
