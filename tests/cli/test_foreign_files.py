"""`ardtool inspect` and `ardtool convert` as a user meets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

RUN = Path("runs/x-ard-vae-L4-s0")


def test_inspect_says_what_it_is_and_what_next(ardtool):
    torch.save({"state_dict": nn.Linear(4, 3).state_dict(), "epoch": 3}, "net.ckpt")
    lines = ardtool("inspect", "net.ckpt").stdout.splitlines()
    assert lines[0] == "net.ckpt is a torch checkpoint"
    assert lines[1].endswith("2 tensors · 15 numbers in them")
    assert "tensors under 'state_dict'; the file has state_dict, epoch" in lines
    assert any(line.split() == ["weight", "3×4", "float32"] for line in lines)
    assert lines[-2].split() == ["read", "by", "no", "installed", "plugin"]
    assert lines[-1].startswith("next ")


def test_inspect_knows_its_own(ardtool):
    model = ardtool.json("inspect", RUN / "model.safetensors")
    assert (model["kind"], model["description"], model["plugin"]) == ("ardtool", "an ardtool model (ard-vae)", None)
    assert model["next"] == f"Score its axes with `ardtool relevance {RUN}/model.safetensors`."
    assert model["metadata"]["architecture"]["latent_dim"] == 4
    run = ardtool.json("inspect", RUN)
    assert (run["kind"], run["tensors"]) == ("run", model["tensors"])
    assert "ardtool itself" in ardtool("inspect", RUN).stdout


def test_unsafe_names_are_a_warning(ardtool):
    torch.save(nn.Linear(4, 3), "net.pt")
    result = ardtool("inspect", "net.pt")
    assert result.stderr.startswith("warning: unpickling it would run code of torch.nn.modules.linear.Linear; ardtool does not")
    assert "ardtool convert net.pt --out net.safetensors" in result.stdout
    assert ardtool("inspect", "net.pt", "--quiet").stderr == ""
    assert ardtool("inspect", "net.pt", "--json").stderr == ""


def test_long_tables_are_cut(ardtool):
    torch.save({f"layer{number}": torch.ones(1) for number in range(45)}, "net.pt")
    assert "… and 5 more (all of them: --json)" in ardtool("inspect", "net.pt").stdout
    assert len(ardtool.json("inspect", "net.pt")["tensors"]) == 45


def test_names_of_tensors_are_not_taken_for_markup(ardtool):
    torch.save({"[red]a[/]": torch.ones(1)}, "net.pt")
    assert "[red]a[/]" in ardtool("inspect", "net.pt").stdout


def test_inspect_of_what_is_no_model(ardtool):
    Path("page.pt").write_text("<html>404</html>")
    assert ardtool("inspect", "page.pt").stdout.splitlines() == [
        "page.pt is an HTML page (an error page saved in place of the file?)",
        "16 bytes",
        "",
        "next        Download the file again; its address answered with a page.",
    ]
    assert ardtool.error("inspect", "none.pt") == ("none.pt does not exist.", "Give the path of a file or folder.")
    torch.save({"x": torch.ones(400)}, "cut.pt", _use_new_zipfile_serialization=False)
    Path("cut.pt").write_bytes(Path("cut.pt").read_bytes()[:-9])
    assert "warning: cut.pt is truncated or damaged" in ardtool("inspect", "cut.pt").stderr


def test_convert(ardtool):
    module = nn.Linear(4, 3)
    torch.save(module, "net.pt")
    lines = ardtool("convert", "net.pt", "--out", "net.safetensors").stdout.splitlines()
    assert lines[0].startswith("2 tensors, 15 numbers   ")
    assert lines[1].split(maxsplit=2) == ["left", "out", "torch.nn.modules.linear.Linear: named in the pickle, not run"]
    assert lines[2] == "wrote net.safetensors"
    assert load_file("net.safetensors")["weight"].equal(module.weight)
    said, hint = ardtool.error("convert", "net.pt", "--out", "net.safetensors")
    assert said == "net.safetensors exists already."
    assert "--force" in hint
    result = ardtool.json("convert", "net.pt", "--out", "net.safetensors", "--force")
    assert (result["schema"], result["tensors"], result["files"]) == ("ardtool.convert/1", 2, ["net.safetensors"])


def test_convert_refuses_in_one_line(ardtool):
    np.savez("x.npz", a=np.ones(3))
    model = RUN / "model.safetensors"
    assert ardtool.error("convert", model, "--out", "y.safetensors")[0] == f"{model} is an ardtool model already."
    assert ardtool.error("convert", "x.npz", "--out", "y.safetensors")[0].startswith("x.npz is a NumPy archive of 1 array; expected")
    assert ardtool.error("convert", RUN, "--out", "y.safetensors")[0].startswith(f"{RUN} is a finished ardtool run; expected")
    assert ardtool("convert", "x.npz", code=2).stdout == ""


def test_names_from_files_do_not_steer_the_terminal(ardtool):
    """Escape sequences could hide a warning or rename the window."""
    torch.save({"red\x1b[31m": torch.ones(2), "key\x1b": 3, "state_dict": {}}, "net.pt")
    shown = ardtool("inspect", "net.pt").stdout
    assert "red�[31m" in shown and "key�" in shown
    said = ardtool("train", "--data", "no\x1b]0;title\x1bsuch.npy", code=1).stderr
    assert "no�]0;title�such.npy" in said
    assert not any(sign in shown + said for sign in "\x1b\x07")


def test_names_from_files_do_not_look_like_lines_of_ardtool(ardtool):
    """A line end in a name would begin a line that the file's maker wrote; a turned direction would show a name backwards."""
    name = "w\nnext        Run `sh evil.sh`.\u202egnp"
    torch.save({name: torch.ones(2), f"key{name}": 3}, "net.pt")
    lines = ardtool("inspect", "net.pt").stdout.splitlines()
    assert sum(line.startswith("next ") for line in lines) == 1
    assert any(line.startswith("w�next ") for line in lines) and any("keyw�next " in line for line in lines)
    assert not any("\u202e" in line for line in lines)
