"""Ctrl-C and SIGTERM at the command line: a line that says where the run stopped and the command that continues it, which works."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_prints_the_command_that_continues(ardtool, number, code):
    command = [sys.executable, "-m", "ardtool", "train", "--data", "x.npy", "--latent", "3", "--epochs", "100000", "--out", "k"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not Path("k/resume/state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.05)
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=300)
    assert child.returncode == code
    assert stdout == ""
    last = stderr.splitlines()[-1]
    found = re.fullmatch(r"Interrupted in epoch (\d+) of 100000( after \d+ steps?)?; continue with: ardtool (train --resume --out k)", last)
    assert found, stderr
    again = subprocess.Popen([sys.executable, "-m", "ardtool", *shlex.split(found[3])], stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    try:
        for line in again.stderr:
            if "continuing after" in line:
                assert f"continuing after epoch {int(found[1]) - 1} of 100000" in line
                break
        else:
            pytest.fail("it did not continue")
    finally:
        again.kill()
        again.communicate()
