"""Disks that are full or read-only, damaged checkpoints, two processes at one run, clocks that jump, data that changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_disk import can_mount, run_on_small_disk

import ardtool
from ardtool.commands import train_checkpoints
from ardtool.errors import ModelFileError, StorageError, TrainingError
from ardtool.storage.digest import content_hash
from ardtool.storage.run_lock import held
from ardtool.training.interruption import Interrupted

SETTINGS = {"latent": 3, "epochs": 6, "batch_size": 40}  # seven steps an epoch


class Observer:
    """Keeps what it is told; calls `at_step` at every step with the epochs and the steps done."""

    def __init__(self, at_step=lambda epoch, step: None) -> None:
        self.notes: list[str] = []
        self._at_step, self._epoch = at_step, 0

    def started(self, run, folder) -> None:
        self._epoch = run.epoch

    def stepped(self, done, steps) -> None:
        self._at_step(self._epoch, done)

    def epoch_ended(self, record) -> None:
        self._epoch = record.epoch

    def noted(self, text) -> None:
        self.notes.append(text)


def signal_at(epoch: int, step: int, number: int = signal.SIGINT):
    def at_step(epochs: int, done: int) -> None:
        if (epochs, done) == (epoch, step):
            os.kill(os.getpid(), number)

    return at_step


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of a small run with a checkpoint after every epoch."""
    monkeypatch.setattr(train_checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(train_checkpoints, "SHARE", float("inf"))
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draw.normal(size=(400, 2)) @ draw.normal(size=(2, 6)) + 0.1 * draw.normal(size=(400, 6)))
    return {"data": str(tmp_path / "x.npy"), **SETTINGS}


@pytest.fixture
def stopped(settings, tmp_path):
    """A run that was stopped in the middle of its third epoch, with a checkpoint before that one."""
    settings = settings | {"out": tmp_path / "run"}
    with pytest.raises(Interrupted):
        ardtool.train(**settings, observer=Observer(signal_at(2, 2)))
    return settings


def same_model(first: str | Path, second: str | Path) -> bool:
    one, other = load_file(Path(first) / "model.safetensors"), load_file(Path(second) / "model.safetensors")
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


# signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [(0, 1), (3, 2)])
def test_a_signal_lets_the_step_end_saves_and_is_continued(settings, tmp_path, number, moment):
    straight = ardtool.train(**settings, out=tmp_path / "straight")
    steps: list[tuple[int, int]] = []

    def at_step(epoch: int, done: int) -> None:
        steps.append((epoch, done))
        signal_at(*moment, number)(epoch, done)

    with pytest.raises(Interrupted) as caught:
        ardtool.train(**settings, out=tmp_path / "run", observer=Observer(at_step))
    assert caught.value.number == number
    assert steps[-1] == moment, "no further step was made"
    resumed: list[tuple[int, int]] = []
    result = ardtool.train(**settings, out=tmp_path / "run", resume=True, observer=Observer(lambda *step: resumed.append(step)))
    assert resumed[0] == (moment[0], moment[1] + 1), "it goes on with the next step"
    assert same_model(result.run, straight.run)
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 6


def test_a_signal_after_the_last_step_of_an_epoch_waits_for_its_end(settings, tmp_path):
    class AtValidation(Observer):
        def epoch_ended(self, record) -> None:
            super().epoch_ended(record)
            if record.epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        ardtool.train(**settings, out=tmp_path / "run", observer=AtValidation())
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2


def test_a_second_signal_ends_at_once(settings, tmp_path):
    reached = []

    def twice(epoch: int, done: int) -> None:
        if (epoch, done) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after both")

    with pytest.raises(KeyboardInterrupt):
        ardtool.train(**settings, out=tmp_path / "run", observer=Observer(twice))
    assert not reached
    observer = Observer()
    ardtool.train(**settings, out=tmp_path / "run", resume=True, observer=observer)


def test_signals_are_given_back(settings, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    ardtool.train(**settings, out=tmp_path / "run")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_training_in_another_thread_leaves_signals_alone(settings, tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(ardtool.train(**settings, out=tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].epochs == 6


def test_checkpoints_within_an_epoch_come_every_few_minutes(settings, tmp_path, monkeypatch):
    """A step takes a minute: with --checkpoint-minutes 2 every second one is saved, counted from the checkpoint before; five steps."""
    now, saved = [0.0], []
    monkeypatch.setattr(train_checkpoints.time, "monotonic", lambda: now[0])
    write = train_checkpoints.Checkpoints._write

    def counted(self) -> None:
        write(self)
        saved.append((self._run.epoch, None if self._run.partial is None else self._run.partial.steps))

    monkeypatch.setattr(train_checkpoints.Checkpoints, "_write", counted)
    observer = Observer(lambda epoch, step: now.__setitem__(0, now[0] + 60))
    ardtool.train(**settings | {"epochs": 2, "batch_size": 50}, out=tmp_path / "run", observer=observer, checkpoint_minutes=2)
    assert saved == [(0, 2), (0, 4), (1, None), (1, 2), (1, 4), (2, None)]


# what cannot be written, and what cannot be read


FULL_DISK = """
import sys
from pathlib import Path
import ardtool
from ardtool.commands import train_checkpoints
from ardtool.errors import StorageError
train_checkpoints.SECONDS, train_checkpoints.SHARE = 0.0, float("inf")
folder, data, moment = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
settings = dict(data=data, latent=3, epochs=6, batch_size=40, out=folder / "run")
ballast = folder / "ballast"

def fill():
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass

class Observer:
    def started(self, run, folder): ...
    def stepped(self, done, steps): ...
    def epoch_ended(self, record):
        if record.epoch == 2 and moment != "first":
            fill()
        if record.epoch == 4 and moment == "middle":
            ballast.unlink()
    def noted(self, text):
        print("note:", text)

if moment == "first":
    fill()
try:
    ardtool.train(**settings, observer=Observer())
except StorageError as error:
    print("error:", error.message, "|", error.hint)
    print("whole:", sorted(path.name for path in (folder / "run").rglob("*") if path.is_file()))
    if moment == "end":
        ballast.unlink()
        ardtool.train(**settings, resume=True)
print("leftovers:", sorted(path.name for path in (folder / "run").rglob(".*")))
if (folder / "run" / "model.safetensors").exists():
    import shutil
    shutil.copytree(folder / "run", Path(data).parent / "copied")
"""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("moment", ["first", "middle", "end"])
def test_a_full_disk(settings, tmp_path, moment):
    straight = ardtool.train(**settings, out=tmp_path / "straight")
    (tmp_path / "disk").mkdir()
    said = run_on_small_disk(tmp_path / "disk", "3m", FULL_DISK, settings["data"], moment).splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    notes = [line for line in said if line.startswith("note: ")]
    assert "leftovers: []" in said
    if moment == "first":  # nothing was saved before: there is nothing to go back to
        assert len(errors) == 1
        assert "No space left on device" in errors[0]
        assert not (tmp_path / "copied").exists()
        return
    assert notes
    assert all("No space left on device" in note and "Training goes on; the checkpoint before it is kept." in note for note in notes)
    assert len(errors) == (1 if moment == "end" else 0)
    if errors:
        assert "model.safetensors: " in errors[0]
        assert "Free space" in errors[0]
        assert "state.safetensors" in next(line for line in said if line.startswith("whole: "))
    assert same_model(tmp_path / "copied", straight.run)


READ_ONLY = """
import subprocess, sys
from pathlib import Path
import ardtool
from ardtool.errors import ArdtoolError
folder, data = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
steps = []
class Observer:
    started = epoch_ended = noted = lambda *_: None
    def stepped(self, done, steps_):
        steps.append(done)
try:
    ardtool.train(data=data, latent=3, epochs=6, batch_size=40, out=folder / "run", observer=Observer())
except ArdtoolError as error:
    print(error.message, "|", error.hint, "|", len(steps), "steps")
"""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_read_only_folder_is_noticed_before_the_first_step(settings, tmp_path):
    (tmp_path / "disk").mkdir()
    said = run_on_small_disk(tmp_path / "disk", "3m", READ_ONLY, settings["data"])
    assert "Cannot make the folder " in said
    assert "Read-only file system. | Choose another place with --out. | 0 steps" in said


@pytest.mark.parametrize("damage", ["cut", "flipped bit", "empty", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(stopped, tmp_path, damage):
    straight = ardtool.train(**stopped | {"out": tmp_path / "straight"})
    path = tmp_path / "run" / "resume" / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "flipped bit": content, "empty": b""}[damage])
    observer, started = Observer(), []
    observer.started = lambda run, folder: started.append((run.epoch, run.partial))
    result = ardtool.train(**stopped, resume=True, observer=observer)
    assert started == [(2, None)], "the checkpoint after the second epoch"
    if damage != "gone":
        (note,) = observer.notes
        assert note.startswith(f"{path} is damaged (")
        assert note.endswith("Going on from the checkpoint before it.")
    assert same_model(result.run, straight.run)


def test_two_damaged_checkpoints_are_refused(stopped, tmp_path):
    for path in (tmp_path / "run" / "resume").glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"state\.safetensors is damaged") as caught:
        ardtool.train(**stopped, resume=True)
    assert caught.value.hint == "Start again with --force."
    assert len(list((tmp_path / "run" / "resume").glob("*.safetensors"))) == 2, "nothing was removed"


@pytest.mark.parametrize("where", ["model.", "optimisers."])
def test_a_state_of_other_shapes_is_refused_though_its_hash_is_right(stopped, tmp_path, where):
    for path in (tmp_path / "run" / "resume").glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
        tensors = load_file(path)
        name = next(name for name, value in tensors.items() if name.startswith(where) and value.dim() == 2)
        tensors[name] = torch.zeros(7, 7)
        save_file(tensors, path, metadata=header | {"sha256": content_hash(tensors, header["run"])})
    with pytest.raises(ModelFileError, match=r"state\.safetensors is damaged"):
        ardtool.train(**stopped, resume=True)


# two processes, clocks, other data


def test_a_second_process_in_the_same_folder_is_refused(settings, tmp_path):
    refused: list[TrainingError] = []
    code = f"import ardtool\nardtool.train(**{settings!r}, out={str(tmp_path / 'run')!r}, force=True)"

    def at_step(epoch: int, done: int) -> None:
        if (epoch, done) == (1, 1):
            with pytest.raises(TrainingError) as caught:
                ardtool.train(**settings, out=tmp_path / "run", force=True)
            refused.append(caught.value)
            other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            assert other.returncode == 1
            assert f"is being trained by process {os.getpid()} on " in other.stderr

    result = ardtool.train(**settings, out=tmp_path / "run", observer=Observer(at_step))
    assert len(refused) == 1
    assert refused[0].message.startswith(f"{tmp_path / 'run'} is being trained by process {os.getpid()} on ")
    assert refused[0].hint == "Wait until it is done, stop it, or choose another --out."
    assert same_model(result.run, ardtool.train(**settings, out=tmp_path / "alone").run)


def test_the_lock_of_a_process_that_is_gone_binds_nobody(stopped, tmp_path):
    resume = tmp_path / "run" / "resume"
    (resume / "lock").touch()
    (resume / "holder.json").write_text('{"process": 1, "machine": "elsewhere"}')
    assert ardtool.train(**stopped, resume=True).epochs == 6
    assert not resume.exists()


def test_what_a_finished_run_could_not_remove_is_removed_by_the_next_call_unless_it_is_held(settings, tmp_path):
    first = ardtool.train(**settings, out=tmp_path / "run")
    resume = tmp_path / "run" / "resume"
    resume.mkdir()  # as after a SIGKILL between its two last acts
    (resume / "holder.json").write_text('{"process": 1, "machine": "elsewhere"}')
    with held(resume, print):
        assert ardtool.train(**settings, out=first.run).repeated
        assert (resume / "lock").exists()
    assert ardtool.train(**settings, out=first.run).repeated
    assert not resume.exists()


def test_clocks_that_jump_change_nothing(settings, tmp_path, monkeypatch):
    straight = ardtool.train(**settings, out=tmp_path / "straight")
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(jumps))
    with pytest.raises(Interrupted):
        ardtool.train(**settings, out=tmp_path / "run", observer=Observer(signal_at(2, 2)))
    result = ardtool.train(**settings, out=tmp_path / "run", resume=True)
    assert same_model(result.run, straight.run)
    records = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert all(0 <= record[name] < 60 for record in records for name in record if name.endswith("seconds"))


def test_changed_data_are_refused_unless_they_are_allowed(stopped, tmp_path):
    x = np.load(stopped["data"])
    x[0, 0] += 1
    np.save(stopped["data"], x)
    with pytest.raises(TrainingError) as caught:
        ardtool.train(**stopped, resume=True)
    assert caught.value.message == f"The data of the unfinished run {tmp_path / 'run'} have changed since it began."
    assert caught.value.hint == "Restore them, start again with --force, or go on all the same with --resume --allow-changed-data."
    observer = Observer()
    assert ardtool.train(**stopped, resume=True, allow_changed_data=True, observer=observer).epochs == 6
    assert observer.notes == ["the data have changed since this run began; it goes on with those of now"]


@pytest.mark.parametrize("samples", [60, 2000])
def test_changed_data_may_be_fewer_or_more(stopped, samples):
    draw = np.random.default_rng(1)
    np.save(stopped["data"], draw.normal(size=(samples, 6)))
    assert ardtool.train(**stopped, resume=True, allow_changed_data=True).epochs == 6


def test_a_run_under_runs_is_found_although_its_data_have_changed(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Interrupted):
        ardtool.train(**settings, observer=Observer(signal_at(2, 2)))
    x = np.load(settings["data"])
    np.save(settings["data"], x + 1)
    with pytest.raises(TrainingError, match="have changed since it began"):
        ardtool.train(**settings, resume=True)
    assert not ardtool.train(**settings).repeated, "without --resume it is another run, beside the first"
    assert len(list(Path("runs").glob("x-*"))) == 2


def test_a_finished_run_on_a_read_only_disk_is_read_again(settings, tmp_path):
    ardtool.train(**settings, out=tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert ardtool.train(**settings, out=tmp_path / "copy").repeated
    assert not (tmp_path / "copy" / "resume").exists()


def test_a_checkpoint_that_cannot_be_written_first_ends_the_run(settings, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise StorageError("Cannot write it: No space left on device.", "Free space.")

    monkeypatch.setattr("ardtool.storage.run_folder.RunFolder.write_checkpoint", full)
    steps = []
    with pytest.raises(StorageError):
        ardtool.train(**settings, out=tmp_path / "run", observer=Observer(lambda *step: steps.append(step)))
    assert {epoch for epoch, _ in steps} == {0}
