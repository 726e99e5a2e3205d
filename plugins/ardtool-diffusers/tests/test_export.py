"""Exported decoders run at batches beyond the size at which the library's upsampling takes another branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import onnxruntime
import pytest
import torch
from ardtool_diffusers import load
from torch import Tensor

from ardtool.autoencoder import Posterior, flat_latents
from ardtool.export.decoder import export_decoder
from ardtool.export.fresh import check_in_fresh_process
from ardtool.export.pt2 import read_description

BATCH = 64  # diffusers' Upsample2D makes its tensors contiguous from this batch on


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_batches_below_and_above_the_branch_are_equal(folder_of, tmp_path: Path, kind: Literal["pt2", "onnx"]):
    model: Any = flat_latents(load(folder_of("AutoencoderKL"), "cpu"))
    codes = Posterior(torch.randn(BATCH, *model.latent_shape, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        expected = model.decode(codes.mean)
    path = tmp_path / f"small.{kind}"
    export_decoder(model, codes, path, kind, {})
    assert check_in_fresh_process(path, kind, codes, expected).relative <= 1e-5
    assert read_description(path)["decoder"]["largest_batch"] == BATCH - 1
    if kind == "onnx":
        for batch in (1, 4, 33, BATCH):
            assert largest_difference(path, codes.mean[:batch].reshape(batch, 4, 4, 4), expected[:batch]) <= 1e-5


def largest_difference(path: Path, z: Tensor, expected: Tensor) -> float:
    """The largest difference that onnxruntime's output has, relative to the largest output."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (x,) = session.run(["x"], {"z": z.numpy()})
    return float((torch.from_numpy(x) - expected).abs().max() / expected.abs().max())
