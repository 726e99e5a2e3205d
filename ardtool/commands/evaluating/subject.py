"""A model on data: what the metrics are computed from, each part once and only when a metric asks for it.

Of more than `Request.samples` samples a random part is measured, the same one for every metric and every model (it depends on the seed
and the number of samples alone). Nothing is held that grows faster than N × L: images are decoded and compared batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, Posterior
from ...data.dataset import DataSet
from ...errors import ConfigError
from ...latent.chunks import in_pieces
from ...latent.codes import LatentCodes
from ...latent.jacobian import inference_mode
from ...latent.pruning import full_codes
from ...latent.sampling import Sampler, check_sampler
from ...networks.build import NetworkAutoencoder
from ...storage.model_file import SavedModel
from ...training.processes import Processes
from ..memory import decoding_rows
from ..opening import codes_for, encode_all
from ..relevance import active_axes_of

__all__ = ["SAMPLES", "Progress", "Request", "Subject"]

SAMPLES = 10_000
T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much is done."""


@dataclass(frozen=True)
class Request:
    """How to measure.

    Attributes:
        samples: at most so many samples are measured, and so many are generated.
        seed: of everything random.
        features: what images are compared by: inception, pixels, FILE.npz, MODEL or module:function; None for what suits the data.
        inception_weights: file of the Inception network; None for torch's cache.
        generated: samples of somebody else instead of the model's own: a folder, archive or array.
        sampler: how codes are drawn, see `latent/sampling.py`; None for the one that the model's method has.
        all_axes: let inactive axes vary in generated samples too.
        factors: file with the known factors of the samples, for data that carry none.
        eval_seeds: disentanglement metrics are averaged over so many seeds.
        iwae_draws: K of the importance-weighted bound.
        plugin, trust: how a foreign model is opened that makes the features.
        cache: keep features of data between calls.
        data_root: folder of named data sets.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.
    """

    samples: int = SAMPLES
    seed: int = 0
    features: str | None = None
    inception_weights: Path | None = None
    generated: str | Path | None = None
    sampler: Sampler | None = None
    all_axes: bool = False
    factors: str | Path | None = None
    eval_seeds: int = 1
    iwae_draws: int = 100
    plugin: str | Path | None = None
    trust: bool = False
    cache: bool = True
    data_root: str | Path | None = None
    skip_bad: bool = False

    def validated(self) -> Request:
        """This request, after checking every range."""
        for flag, value, low in (
            ("--samples", self.samples, 1),
            ("--eval-seeds", self.eval_seeds, 1),
            ("--iwae-draws", self.iwae_draws, 1),
        ):
            if value < low:
                raise ConfigError(f"{flag} is {value}; expected at least {low}.", "Leave it out for the usual number.")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"--seed is {self.seed}; expected 0 to 2147483647.", "0 is the usual one.")
        check_sampler(self.sampler)
        return self


class Subject:
    """A model on data.

    Arguments:
        model: opened, with flat codes.
        unscaled: the data as the user has them.
        data: the same as the model takes them, vectors standardised.
        device: where networks compute.
        progress: is told how far long work is.
        is_named: whether the data are a set of the catalogue, which may have a training part too.
        processes: those that measure together: samples are split over them, and what is made of all samples is the same in each.

    Attributes:
        notes: what the user should know, beyond what a metric says of itself.
    """

    def __init__(
        self,
        model: SavedModel,
        unscaled: DataSet,
        data: DataSet,
        request: Request,
        device: torch.device,
        progress: Progress | None = None,
        *,
        is_named: bool = False,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.unscaled = unscaled
        self.data = data
        self.request = request
        self.device = device
        self.progress: Progress = progress or (lambda text, done, total: None)
        self.is_named = is_named
        self.processes = processes or Processes()
        self.notes: list[str] = []
        self._kept: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns, made when a metric first asks for it under this name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def network(self) -> Autoencoder:
        return self.model.autoencoder

    @property
    def is_images(self) -> bool:
        return len(self.data.shape) == 3

    @cached_property
    def data_sha256(self) -> str:
        """Hash of all samples as the user has them."""
        return self.unscaled.sha256()

    @cached_property
    def index(self) -> Tensor:
        """Which samples are measured, ascending."""
        n = len(self.data)
        if n <= self.request.samples:
            return torch.arange(n)
        return torch.randperm(n, generator=self.generator())[: self.request.samples].sort().values

    def generator(self, purpose: int = 0) -> torch.Generator:
        """Randomness for one purpose, the same in every call."""
        return torch.Generator().manual_seed(self.request.seed + 1_000_003 * purpose)

    @cached_property
    def codes(self) -> LatentCodes | None:
        """Moments and prior: the model's own, else of these data; None where a single sample tells none."""
        if self.model.codes is not None:
            return self.model.codes
        if len(self.data) < 2:
            return None
        return codes_for(self.model, data=self.data, seed=self.request.seed, device=self.device, processes=self.processes)

    @cached_property
    def posterior(self) -> Posterior:
        """Posteriors of the measured samples."""
        self.progress("encoding", 0, len(self.index))
        return encode_all(self.network, self.data, self.device, self.index, processes=self.processes)

    @cached_property
    def active(self) -> list[int] | None:
        """The active axes, ascending; None where there are no codes to tell them by."""
        return None if self.codes is None else sorted(active_axes_of(self.model, self.codes, self.device)[0])

    @cached_property
    def ranked(self) -> list[int]:
        """All axes by descending relevance."""
        assert self.codes is not None, "asked for after `active`"
        shares = active_axes_of(self.model, self.codes, self.device)[1]
        return sorted(range(len(shares)), key=lambda axis: (-shares[axis], axis))

    def held(self, axes: list[int]) -> Tensor:
        """Posterior means with all but some axes held at their aggregate mean, shape (N, L)."""
        assert self.codes is not None, "a model without codes has no aggregate mean"
        elements = self.model.latent_axes.elements_of(axes)
        return full_codes(self.posterior.mean[:, elements], elements, self.codes.statistics.mean)

    def variants(self) -> Iterator[tuple[str, str, Tensor]]:
        """(suffix of the metric's name, axes, codes to decode): with all axes, and with the active ones alone where they are known."""
        yield "", "all", self.posterior.mean
        if self.active is not None:
            yield "_active", "active", self.held(self.active)

    def compared(self, z: Tensor, compare: Callable[[Tensor, Tensor], Tensor], text: str, *, raw: bool = False) -> Tensor:
        """`compare(reconstruction, x)` of every measured sample, shape (N,), float64: (B, *shape) twice to (B,), batch by batch.

        Arguments:
            z: codes with shape (N, L), one for each measured sample.
            raw: decode to logits.
        """
        parts, done = [], 0
        shard = self.processes.shard(len(z))

        def compared(rows: Tensor, reconstruction: Tensor) -> Tensor:
            return compare(reconstruction, self.data.batch(self.index[rows], self.device)).double().cpu()

        for part in self.decoded(z, self.posterior.context, compared, raw=raw):
            parts.append(part)
            done += len(part)
            self.progress(text, done, shard.rows.stop - shard.rows.start)
        return self.processes.gather_rows(torch.cat(parts), shard)

    def decoded(
        self, z: Tensor, context: Tensor | None, work: Callable[[Tensor, Tensor], Tensor], *, raw: bool = False
    ) -> Iterator[Tensor]:
        """What `work` makes of this process' part of some codes, as many at a time as fit into bounded memory.

        Arguments:
            z: codes with shape (M, L).
            context: what the decoder needs beside them, one row for each code, or None.
            work: takes rows of z and what they decode to, on the device; called again with fewer where memory runs out.
            raw: decode to logits.
        """
        decode = self.decoder(raw)
        with inference_mode(self.network):
            first = None if context is None else context[:1].to(self.device)
            part = torch.arange(len(z))[self.processes.shard(len(z)).rows]

            def done(piece: slice) -> Tensor:
                rows = part[piece]
                own = None if context is None else context[rows].to(self.device)
                return work(rows, decode(z[rows].to(self.device), own))

            for _, found in in_pieces(len(part), decoding_rows(self.network, z[:1].to(self.device), first), done):
                yield found

    def decoder(self, raw: bool) -> Callable[[Tensor, Any], Tensor]:
        """`decode`, or the same without the output activation."""
        if not raw:
            return self.network.decode
        network = self.network
        assert isinstance(network, NetworkAutoencoder), "only ardtool's own networks give logits"
        return lambda z, _: network.decode_raw(z)
