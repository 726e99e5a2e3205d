"""`prune`: remove latent axes that the decoder does not use, and prove that nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data.dataset import DataSet
from ..errors import ConfigError
from ..export.fresh import decode_seconds
from ..latent.axes import Granularity
from ..latent.chunks import in_pieces
from ..latent.codes import LatentCodes
from ..latent.pruning import Equality, Pruning
from ..networks.build import NetworkAutoencoder, build_network
from ..report.curves import pruning_figure
from ..report.figures import save_figure
from ..storage.model_file import SavedModel
from ..storage.record import write_record
from .estimation import BASES, Basis, Request
from .inputs import data_for, warnings_of
from .opening import ModelLike, choose_device, codes_for, encode_all, open_model
from .pruning.choice import Choice, read_choice
from .pruning.files import Targets, check_can_be_saved, decoder_bytes, plan_files, put_in_place, write_exports
from .pruning.measure import Meter, reconstruction_errors, timing_rows
from .pruning.proof import affordable_reference, affordable_rows, expected_outputs, prove_equal
from .pruning.record import PruneResult, pruned_metadata
from .pruning.select import Selection, select_space

__all__ = ["PruneResult", "prune"]

TIMED_ROUNDS = 3


def prune(
    model: ModelLike = None,
    *,
    out: str | Path,
    threshold: float = 0.99,
    keep: int | None = None,
    axes: Sequence[int] | None = None,
    max_output_change: float | str | None = None,
    max_mse_increase: float | str | None = None,
    basis: Basis = "axes",
    granularity: Granularity = "channel",
    export: Sequence[str] | None = None,
    data: Any = None,
    latents: str | Path | None = None,
    assume_prior: bool = False,
    plot: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    device: str = "auto",
    plugin: str | Path | None = None,
    trust: bool = False,
    data_root: str | Path | None = None,
    skip_bad: bool = False,
) -> PruneResult:
    """Write a smaller model that keeps the active axes, or as many or few as one of the other choices says.

    Every file is loaded in a fresh process and compared with the original decoder before it is put in place.

    Arguments:
        model: a path, a run folder, an object with `encode` and `decode`, or None for the newest run.
        out: a .safetensors model, or its decoder alone as .pt2 (torch.export) or .onnx; the result is written beside it as .json.
        threshold: share of the total score that the kept axes exceed, in (0, 1].
        keep: this number of the most relevant axes.
        axes: just these.
        max_output_change: as few of the most relevant axes as keep the mean squared difference to the full decoder's outputs on the
            reference codes at most this large; "1%" is a share of the outputs' mean squared deviation from their mean.
        max_mse_increase: as few as let the reconstruction MSE on `data` grow by at most this share; "1%" and 0.01 are the same.
        basis: `principal` keeps principal directions, as new axes, in place of axes.
        granularity: whether the axes of a latent map are its channels or its elements.
        export: further kinds of files beside `out`: safetensors, pt2, onnx.
        data: measure the reconstruction error before and after; a model that carries no codes takes them from there, too.
        latents, assume_prior: other sources of codes for models that carry none.
        plot: draw errors against the number of kept axes; beside `out` by default where a limit chose it.
        force: replace files that are there.
        seed: chooses the codes that decoders are compared on.
        device: auto, cpu, cuda[:i] or mps.
        plugin: the name or file of the plugin that reads a foreign model.
        trust: load models whose loading can run foreign code.
        data_root: where named data sets lie.
        skip_bad: leave out images of a folder or archive that cannot be decoded, instead of stopping.

    Raises:
        ConfigError: options contradict each other or are out of range, or an output file exists.
        ArdtoolError: the pruned decoder is not equal to the original; nothing is written then.
    """
    choice = read_choice(threshold, keep, axes, max_output_change, max_mse_increase)
    _check_options(choice, basis, data is not None, plot is not None)
    targets = plan_files(Path(out), export, None if plot is None else Path(plot), choice.limit is not None, force)
    chosen = choose_device(device)
    opened = open_model(model, chosen, plugin, trust=trust, granularity=granularity)
    check_can_be_saved(opened, targets)
    data_set = None if data is None else data_for(opened, data, data_root, skip_bad=skip_bad)
    # a model that carries codes is measured by them, whatever the data are for
    source = data_set if opened.codes is None and latents is None and not assume_prior else None
    codes = codes_for(opened, data=source, latents=latents, assume_prior=assume_prior, seed=seed, device=chosen)
    meter = _meter(opened, codes, data_set, chosen)
    request = Request(threshold=choice.threshold, seed=seed, device=chosen)
    selection = select_space(opened, codes, choice, basis, meter, request, wants_curve=targets.plot is not None)
    sample = None if data_set is None else data_set.batch(slice(0, 2), chosen)
    pruning = selection.space.prune(opened.autoencoder, meter.reference, sample)
    network = _plain_network(pruning)
    equality = prove_equal(meter.model, network, selection.space, codes, meter.reference, seed)
    metadata = pruned_metadata(opened, codes, selection.space, basis, pruning, equality, isinstance(network, NetworkAutoencoder))
    saved = SavedModel(network, selection.space.codes(codes), metadata, targets.exports.get("safetensors"), opened.scaling)
    result = _result(opened, saved, pruning, equality, selection, meter, basis)
    return _write(saved, replace(result, warnings=warnings_of(data_set)), selection, meter, targets, plugin)


def _check_options(choice: Choice, basis: str, has_data: bool, has_plot: bool) -> None:
    if basis not in BASES:
        raise ConfigError(f"--basis is '{basis}'; expected {' or '.join(BASES)}.", f"The default is {BASES[0]}.")
    if basis == "principal" and choice.axes is not None:
        raise ConfigError("--axes names axes; --basis principal keeps directions.", "Use --keep, or --basis axes.")
    if choice.axes is not None and has_plot:
        raise ConfigError("--plot shows errors by the number of most relevant axes; --axes chooses others.", "Leave one of them out.")
    if choice.limit is not None and choice.limit.metric == "mse" and not has_data:
        raise ConfigError(
            "--max-mse-increase is measured on data, and none are given.", "Add --data NAME|PATH, or use --max-output-change."
        )


def _meter(model: SavedModel, codes: LatentCodes, data: DataSet | None, device: torch.device) -> Meter:
    encoded = None if data is None else (data, encode_all(model.autoencoder, data, device))
    return Meter(model.autoencoder, affordable_reference(model.autoencoder, codes, device), encoded, device)


def _plain_network(pruning: Pruning) -> Any:
    """One of ardtool's own networks with fewer axes where that is all that a pruned one is, else the pruned model as it is."""
    record, inner = pruning.record, pruning.model.model
    is_plain = record["decoder"] == "folded" and record["encoder"] == "rows removed"
    if not (is_plain and isinstance(inner, NetworkAutoencoder)):
        return pruning.model.eval()
    small = build_network(inner.record | {"latent_dim": pruning.model.latent_shape[0]}).to(next(inner.parameters()).device)
    small.load_state_dict(inner.state_dict())
    return small.eval()


def _result(
    opened: SavedModel, saved: SavedModel, pruning: Pruning, equality: Equality, selection: Selection, meter: Meter, basis: Basis
) -> PruneResult:
    """Everything that is known before files are written."""
    full, small, space = meter.model, saved.autoencoder, selection.space
    assert isinstance(full, nn.Module) and isinstance(small, nn.Module) and saved.codes is not None, "checked when files were planned"
    before, after = opened.latent_axes, saved.latent_axes
    mse = None
    if meter.data is not None:
        data = meter.data[0]
        posterior = encode_all(small, data, meter.device)
        mse = {"before": meter.full_mse(), "after": reconstruction_errors(small, data, posterior, [small.decode], meter.device)[0]}
    codes, rows = saved.codes, timing_rows(full, meter.reference, meter.device)

    def timed(part: slice) -> list[tuple[float, float]]:
        size = part.stop - part.start
        return [  # in turns, so that a busy machine slows both
            (decode_seconds(full, meter.reference, batch=size, repeats=2), decode_seconds(small, codes.reference, batch=size, repeats=2))
            for _ in range(TIMED_ROUNDS)
        ]

    _, seconds = next(in_pieces(rows, rows, timed))  # as many at once as fit
    return PruneResult(
        kept=space.kept,
        dropped=[axis for axis in range(before.count) if axis not in set(space.kept)] if basis == "axes" else [],
        max_abs_difference=equality.max_abs_difference,
        output_scale=equality.output_scale,
        output_change=meter.output_change(space),
        mse=mse,
        parameters={"before": _parameters(full), "after": _parameters(small)},
        bytes={"before": decoder_bytes(full, meter.reference), "after": decoder_bytes(small, codes.reference)},
        decode_seconds={"before": min(before for before, _ in seconds), "after": min(after for _, after in seconds)},
        decoder=pruning.record["decoder"],
        encoder=pruning.record["encoder"],
        basis=basis,
        granularity=before.granularity if len(before.shape) > 1 else None,
        codes_from=codes.source,
        latent_shape={"before": list(before.shape), "after": list(after.shape)},
        curve=None if selection.curve is None else [asdict(point) for point in selection.curve],
    )


def _write(
    saved: SavedModel,
    result: PruneResult,
    selection: Selection,
    meter: Meter,
    targets: Targets,
    plugin: str | Path | None,
) -> PruneResult:
    """Write all files aside, check each in a fresh process, and put them in place together."""
    codes, expected = expected_outputs(meter.model, selection.space, meter.reference)
    paths = [*targets.exports.values(), *([] if targets.plot is None else [targets.plot]), targets.record]
    with put_in_place(paths) as aside:
        written = {kind: aside(path) for kind, path in targets.exports.items()}
        rows = affordable_rows(meter.model, meter.reference, meter.device)
        exports = write_exports(saved, written, codes, expected, largest_batch=rows, plugin=plugin)
        exports = [record | {"file": str(path)} for record, path in zip(exports, targets.exports.values(), strict=True)]
        result = replace(result, exports=exports, files=[str(path) for path in paths])
        if targets.plot is not None and result.curve is not None:
            title = f"{len(result.kept)} of {result.total} {result.noun} kept"
            noun = result.noun.split()[-1]
            save_figure(pruning_figure(result.curve, len(result.kept), title, limits=selection.limits, noun=noun), aside(targets.plot))
        write_record(aside(targets.record), result.to_dict())
    return result


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
