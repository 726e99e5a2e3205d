"""Training data where the step needs them: on the GPU when they fit, else handed over batch by batch.

    memory   the CPU trains: a batch is taken from the data as they are, in memory or mapped from a file, when its step comes
    device   all samples lie on the GPU as bytes, channels last; a batch is gathered there from a tensor of indices
    drawn    images that are drawn from their factors are drawn on the device, from a tensor of indices
    host     a batch is gathered on the CPU and copied through pinned memory while the GPU still works on the one before

A step is given what `fetch` returns, indices or bytes, and makes floats of it by `batch`: the second half runs on the device alone and
can be captured. Images are laid out as the network wants them, channels last for convolutions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..data.dataset import DataSet
from ..data.factors import DrawnImages

__all__ = ["BatchSource", "place_of"]

Place = Literal["memory", "device", "drawn", "host"]
LARGEST_SHARE = 0.5  # of the memory that is free on the device: the rest is for activations
BLOCK = 2**16


def place_of(data: DataSet, device: torch.device) -> Place:
    """Where the samples of a data set go for training on a device."""
    if device.type == "cpu":
        return "memory"
    if isinstance(data.values, DrawnImages):
        return "drawn"
    if device.type != "cuda":
        return "host"
    needed = data.values.numel() * (1 if data.values.dtype == torch.uint8 else 4)
    return "device" if needed <= LARGEST_SHARE * torch.cuda.mem_get_info(device)[0] else "host"


class BatchSource:
    """Batches of a data set on a device.

    Arguments:
        data: as opened, standardised.
        device: where batches are wanted.
        place: see the module.
        memory_format: how images are laid out.
    """

    def __init__(self, data: DataSet, device: torch.device, place: Place, memory_format: torch.memory_format = torch.channels_last) -> None:
        self.data, self.device, self.place, self.memory_format = data, device, place, memory_format
        self._rows = _rows_on(data.tensor, device) if place == "device" else None
        self._may_copy_asynchronously = device.type == "cuda"  # elsewhere a source that is freed may be overwritten before it is read

    def indices(self, index: Tensor) -> Tensor:
        """Indices where `fetch` wants them."""
        return index.to(self.device, non_blocking=self._may_copy_asynchronously) if self.place in ("device", "drawn") else index

    def fetch(self, index: Tensor) -> Tensor:
        """What a step is given for a batch: the indices themselves, or bytes on the device."""
        if self.place != "host":
            return index
        values = self.data.take(index)
        return values.pin_memory().to(self.device, non_blocking=True) if self._may_copy_asynchronously else values.to(self.device)

    def batch(self, fetched: Tensor) -> Tensor:
        """Samples as float32 in the data's range with shape (B, *shape), from what `fetch` returned."""
        values = self._values(fetched)
        return self.data.as_floats(values.contiguous(memory_format=self.memory_format) if self.data.is_images else values)

    def _values(self, fetched: Tensor) -> Tensor:
        """Samples as they are kept: bytes, or float32."""
        if self.place == "host":
            return fetched
        if isinstance(self.data.values, DrawnImages) and self.place == "drawn":
            return self.data.values.drawn(fetched)
        if self._rows is None:
            return self.data.take(fetched, self.device)
        rows = self._rows[fetched]
        return rows.permute(0, 3, 1, 2) if self.data.is_images else rows

    def take(self, index: Tensor) -> Tensor:
        """The same in one go, for indices on the CPU."""
        return self.batch(self.fetch(self.indices(index)))


def _rows_on(values: Tensor, device: torch.device) -> Tensor:
    """Samples on a device, images with shape (N, H, W, C), copied block by block: a file that is mapped is not read as a whole."""
    dtype = torch.uint8 if values.dtype == torch.uint8 else torch.float32
    last = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    rows = torch.empty(last.shape, dtype=dtype, device=device)
    for start in range(0, len(rows), BLOCK):
        rows[start : start + BLOCK] = last[start : start + BLOCK].to(dtype).to(device)
    return rows
