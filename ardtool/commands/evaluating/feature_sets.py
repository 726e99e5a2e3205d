"""The sets of samples that generation metrics compare, as features: generated samples, reconstructions and other real samples, each beside
its reference.

The reference is the measured part of the data, n samples. Each set has as many, so that all numbers have the same bias:

    (none)            samples of the model, or somebody else's (`--generated`): inactive axes are held at the aggregate mean
    _reconstructions  the reference itself, decoded from its posterior means on all axes
    _floor            real samples that are not in the reference: the rest of the data, else the training part of a named set. Without
                      either, half of the reference is compared with the other half. No model can be expected below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...data.dataset import DataSet
from ...errors import ConfigError, ModelFileError
from ...latent.sampling import Sampler, draw_codes
from ..inputs import data_for
from ..sample import pixel_range
from .feature_cache import data_features
from .feature_choice import open_features
from .feature_file import REFERENCE, FeatureFile
from .features import Extractor, as_samples, features_of, samples_of
from .generated import open_generated
from .subject import Subject

__all__ = ["FeatureSet", "FeatureSets", "feature_sets"]


@dataclass(frozen=True)
class FeatureSet:
    """Samples beside their reference.

    Attributes:
        suffix: of a metric's name: "", `_reconstructions` or `_floor`.
        features, reference: with shape (n, F) each.
        axes: latent axes that varied, as in `MetricValue.axes`.
        provenance: where the samples come from.
    """

    suffix: str
    features: Tensor
    reference: Tensor
    axes: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class FeatureSets:
    """All sets, and what their features are."""

    source: Extractor | FeatureFile
    sets: list[FeatureSet]


def feature_sets(subject: Subject) -> FeatureSets:
    """The sets of a model and its data.

    Raises:
        ConfigError, DataError, ModelFileError: from `open_features`, `open_generated`, or a model without codes to draw by.
    """
    request = subject.request
    example = samples_of(subject.data, subject.index[:2])
    source = open_features(
        request.features,
        example,
        subject.device,
        inception_weights=request.inception_weights,
        scaling=subject.model.scaling,
        plugin=request.plugin,
        trust=request.trust,
    )
    if isinstance(source, FeatureFile):
        if request.generated is not None:
            raise ConfigError("--generated has no effect on features from a file.", "Leave it out, or choose other --features.")
        return FeatureSets(source, list(_from_file(source)))
    return FeatureSets(source, list(_computed(subject, source)))


def _from_file(source: FeatureFile) -> Iterator[FeatureSet]:
    for name, features in source.sets.items():
        if name != REFERENCE:
            n = min(len(features), len(source.sets[REFERENCE]))
            suffix = "" if name == "generated" else f"_{name}"
            yield FeatureSet(suffix, features[:n], source.sets[REFERENCE][:n], "-", {"samples": "the user's own"})


def _computed(subject: Subject, source: Extractor) -> Iterator[FeatureSet]:
    reference = _of_data(subject, source, subject.data, subject.index, "features of the data")
    if subject.request.generated is not None:
        others = open_generated(subject.request.generated, subject.data, skip_bad=subject.request.skip_bad)
        if others.left_out:
            subject.notes.append(f"--generated: {others.left_out}")
        n = min(len(others), len(reference))
        chosen = torch.randperm(len(others), generator=subject.generator(1))[:n].sort().values
        found = _of_data(subject, source, others, chosen, "features of generated samples")
        yield FeatureSet("", found, _part(subject, reference, n), "-", {"samples": others.name})
    else:
        yield _from_the_model(subject, source, reference)
        found = _of_decoded(subject, source, subject.posterior.mean, subject.posterior.context, "features of reconstructions")
        yield FeatureSet("_reconstructions", found, reference, "all", {"samples": "reconstructions"})
    yield _floor(subject, source, reference)


def _from_the_model(subject: Subject, source: Extractor, reference: Tensor) -> FeatureSet:
    """As many samples as the reference has, drawn as `ardtool sample` draws them."""
    codes, model = subject.codes, subject.model
    if codes is None or subject.active is None:
        raise ModelFileError("A single sample tells no codes to generate by.", "Give more samples, or --generated PATH.")
    n, all_axes = len(reference), subject.request.all_axes
    latent = model.latent_axes
    axes = list(range(latent.count)) if all_axes else subject.active
    sampler: Sampler = subject.request.sampler or model.metadata.get("sampler") or ("paper" if codes.prior is not None else "full-gaussian")
    z = draw_codes(codes, n, sampler, latent.elements_of(axes), subject.generator(1))
    context = codes.reference.context
    rows = None if context is None else context[torch.arange(n) % len(context)]
    found = _of_decoded(subject, source, z, rows, "features of generated samples")
    return FeatureSet("", found, reference, "all" if all_axes else "active", {"samples": f"generated, sampler {sampler}"})


def _floor(subject: Subject, source: Extractor, reference: Tensor) -> FeatureSet:
    text, n = "features of other data", len(reference)
    rest = torch.ones(len(subject.data), dtype=torch.bool)
    rest[subject.index] = False
    left = rest.nonzero()[:, 0]
    data, word = subject.data, "the rest of the data"
    if len(left) < n and (training := _training_part(subject)) is not None:
        data, left, word = training, torch.arange(len(training)), "the training part"
    if len(left) < n:
        order = torch.randperm(n, generator=subject.generator(2))
        one, other = reference[order[: n // 2]], reference[order[n // 2 : n // 2 * 2]]
        return FeatureSet("_floor", one, other, "-", {"samples": "one half of the data, beside the other"})
    chosen = left[torch.randperm(len(left), generator=subject.generator(2))[:n]].sort().values
    return FeatureSet("_floor", _of_data(subject, source, data, chosen, text), reference, "-", {"samples": word})


def _training_part(subject: Subject) -> DataSet | None:
    """The training part of a named data set that has a test part of its own."""
    if not subject.is_named:
        return None
    training = data_for(subject.model, subject.unscaled.name, subject.request.data_root, split="train")
    return None if training.grid is not None or training.sha256() == subject.data_sha256 else training


def _part(subject: Subject, features: Tensor, n: int) -> Tensor:
    return features if n == len(features) else features[torch.randperm(len(features), generator=subject.generator(3))[:n]]


def _of_data(subject: Subject, source: Extractor, data: DataSet, index: Tensor, text: str) -> Tensor:
    shard = subject.processes.shard(len(index))
    progress = partial(subject.progress, text)
    own = data_features(source, data, index[shard.rows], cache=subject.request.cache, progress=progress, tell=subject.notes.append)
    return subject.processes.gather_rows(own, shard)


def _of_decoded(subject: Subject, source: Extractor, z: Tensor, context: Tensor | None, text: str) -> Tensor:
    value_range, scaling = pixel_range(subject.model), subject.model.scaling
    batches = subject.decoded(z, context, lambda _, decoded: as_samples(decoded, value_range, scaling))
    shard = subject.processes.shard(len(z))
    own = features_of(source, batches, shard.rows.stop - shard.rows.start, partial(subject.progress, text))
    return subject.processes.gather_rows(own, shard)
