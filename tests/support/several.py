"""Several processes for tests, and what they do there. A module of its own, because each of them imports it by name."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.commands.estimation import Request, estimate
from ardtool.commands.evaluating.subject import Request as MeasuringRequest
from ardtool.commands.evaluating.subject import Subject
from ardtool.commands.evaluating.table import measured as measure
from ardtool.data.dataset import DataSet
from ardtool.errors import ArdtoolError, ConfigError, TrainingError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.codes import LatentCodes
from ardtool.latent.statistics import CodeStatistics
from ardtool.storage.model_file import SavedModel
from ardtool.training.config import config_from
from ardtool.training.distributed import ProcessGroup
from ardtool.training.loop import TrainingRun
from ardtool.training.processes import Processes
from ardtool.training.resolve import prepare_run, resolved
from ardtool.training.state import flatten_state, unflatten_state
from ardtool.training.whole_batch import over_whole_batches

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ardtool.training.distributed", "ardtool.commands.estimation", "torch._dynamo"])  # imported once for all
CPU = torch.device("cpu")
PATIENCE = 300  # seconds

Arrays = dict[str, Any]


def each(size: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(processes, *arguments)` returns in each of several processes, joined by gloo."""
    queue = CONTEXT.Queue()
    members = [CONTEXT.Process(target=_member, args=(queue, folder / f"store-{size}", rank, size, work, arguments)) for rank in range(size)]
    for member in members:
        member.start()
    found = dict(queue.get(timeout=PATIENCE) for _ in members)
    for member in members:
        member.join()
    failed = [value for succeeded, value in found.values() if not succeeded]
    assert not failed, failed[0]
    return [found[rank][1] for rank in range(size)]


def _member(queue: Any, store: Path, rank: int, size: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        group = ProcessGroup(dist.FileStore(str(store), size), rank, size)  # pyright: ignore[reportPrivateImportUsage]
        group.start("cpu")
        queue.put((rank, (True, work(group, *arguments))))
        group.close()
    except BaseException:
        queue.put((rank, (False, traceback.format_exc())))


def new_run(processes: Processes, settings: dict[str, Any], data: DataSet) -> TrainingRun:
    config = resolved(config_from({"latent": 3, "epochs": 1, "batch_size": 31} | settings, "test"), data)
    return prepare_run(config, data, CPU, processes)


def run_in_float64(processes: Processes, settings: dict[str, Any], data: DataSet) -> TrainingRun:
    """A run whose rounding does not blow up to a difference. The active axes are counted in float32, so not here."""
    run = new_run(processes, settings, data)
    run.count_active = lambda: 0
    run.model.double()
    run.objective.double()
    batch = run.source.batch
    run.source.batch = lambda fetched: batch(fetched).double()
    return run


def states_of(processes: Processes, settings: dict[str, Any], data: DataSet, start: tuple[Arrays, Any] | None = None) -> list[Any]:
    """The state after every epoch as arrays and a skeleton, from a state on."""
    run = run_in_float64(processes, settings, data)
    if start is not None:
        run.restore(unflatten_state({name: torch.from_numpy(array) for name, array in start[0].items()}, start[1]))
    states: list[Any] = []

    def after_epoch(record: Any) -> None:
        tensors, skeleton = flatten_state(run.state())
        states.append(({name: tensor.numpy().copy() for name, tensor in tensors.items()}, skeleton))

    run.fit(after_epoch)
    return states


def trained(processes: Processes, settings: dict[str, Any], data: DataSet) -> Arrays:
    """All that training leaves, by name."""
    run = run_in_float64(processes, settings, data)
    run.fit(lambda record: None)
    tensors, _ = flatten_state({name: value for name, value in run.state().items() if name != "history"})
    found = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
    for record in run.history:
        for kind, terms in (("training", record.training), ("validation", record.validation)):
            found |= {f"{kind} {name} {record.epoch}": value for name, value in terms.items()}
        found[f"samples {record.epoch}"] = record.samples
    codes = run.final_codes()
    return found | {"final variance": codes.axis_variance.numpy(), "reference": codes.reference.mean.numpy()}


def normalised(processes: Processes) -> Arrays:
    """BatchNorm in training on this process' part of 11 images: outputs, running moments, first and second derivatives of the whole."""
    generator = torch.Generator().manual_seed(0)
    network: Any = nn.Sequential(nn.BatchNorm2d(3, momentum=0.01)).double()
    if processes.size > 1:
        over_whole_batches(network)
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=generator)
    shard = processes.shard(11)
    x = (50 + torch.randn(11, 3, 4, 5, generator=generator, dtype=torch.float64))[shard.rows].requires_grad_()
    with processes.sharing(shard):
        y = network(x)
        loss = y.pow(3).mean()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        ((len(x) * slope).square().flatten(1).sum(dim=1).mean() + loss).backward()
        assert x.grad is not None
        rows = {"output": y, "slope": shard.weight * slope, "gradient": shard.weight * x.grad}
        found = {name: processes.gather_rows(value.detach(), shard) for name, value in rows.items()}
        found |= {f"gradient of {name}": processes.mean(value.grad) for name, value in network.named_parameters()}
    return {name: value.numpy() for name, value in (found | network.state_dict()).items()}


def drawn(processes: Processes) -> list[Any]:
    """Random numbers for 11 samples, all that this process draws joined again, in the shapes that methods ask for."""
    generator, shard = torch.Generator().manual_seed(0), processes.shard(11)
    n = shard.rows.stop - shard.rows.start
    with processes.sharing(shard):
        rows = [torch.randn(n, 7, generator=generator), torch.rand((n, 1), generator=generator)]
        rows.append(torch.randn((5, n, 7), generator=generator).transpose(0, 1))
        common = torch.rand(1, 7, generator=generator)
    joined = [processes.gather_rows(each.contiguous(), shard) for each in rows]
    return [each.numpy() for each in (*joined, common, torch.rand(3, generator=generator))]


def scored(processes: Processes) -> dict[str, tuple[Any, ...]]:
    """Relevance of a small decoder by the estimators that are shared."""
    generator = torch.Generator().manual_seed(0)
    decoder = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 9)).double()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, generator=generator)
    model = ModulePair(nn.Identity(), decoder, (9,), 4)
    z = torch.randn(101, 4, generator=generator, dtype=torch.float64)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(z))
    found: dict[str, tuple[Any, ...]] = {}
    for estimator in ("exact", "sketch", "sobol"):
        for tolerance in (None, 0.5):
            request = Request(None, tolerance, estimator=estimator, seed=3, processes=processes)
            scores = estimate(model, codes, LatentAxes((4,)), request).scores
            numbers = [(axis.axis, axis.weight, axis.score_stderr) for axis in scores.axes]
            found[f"{estimator} {tolerance}"] = (numbers, scores.active_interval)
    return found


def measured(processes: Processes) -> dict[str, tuple[float, float]]:
    """Metrics of a small model with their errors, one of every family that is shared."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = nn.Linear(6, 4), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 6))
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        nn.init.normal_(parameter, generator=generator)
    model = ModulePair(lambda x: encoder(x).chunk(2, dim=1), decoder, (6,), 2)
    data = DataSet("normal", torch.randn(161, 6, generator=generator))
    saved = SavedModel(model, None, {"method": "foreign", "likelihood": {"kind": "gaussian", "beta": 2.0}})
    subject = Subject(saved, data, data, MeasuringRequest(iwae_draws=3), CPU, processes=processes)
    found, _ = measure(subject, dict.fromkeys(("mse", "elbo", "iwae", "kid", "prdc", "activity", "dimension"), True))
    return {name: (value.value, value.stderr) for each in found for name, value in each.values.items()}


def refused(processes: Processes) -> list[str]:
    """What is said where one process has an error, or other settings than the first."""
    others = 1 if processes.rank else 0

    def fail_on(rank: int) -> int:
        if processes.rank == rank:
            raise ConfigError(f"rank {rank} cannot", "help it")
        return processes.rank

    said = []
    for attempt in (
        lambda: processes.on_first(lambda: fail_on(0)),
        lambda: processes.everywhere(lambda: fail_on(1)),
        lambda: processes.agree({"latent": 4 + others, "data_sha256": others}),
        lambda: processes.agree({"latent": 4, "data_sha256": others}),
    ):
        try:
            attempt()
        except ArdtoolError as error:
            said.append(str(error))
    assert processes.on_first(lambda: processes.rank) == 0
    assert processes.everywhere(lambda: processes.rank) == list(range(processes.size))
    return said


def missed(processes: Processes) -> tuple[bool, str]:
    """Who speaks, and what is said, when the process with rank 1 does not answer."""
    if processes.rank == 1:
        return False, ""
    error = processes.lost()
    return processes.claim(), error.message


def laws(processes: Processes, every: list[dict[str, Any]], data: DataSet, states: list[Any]) -> dict[str, Any]:
    """All of the above, in processes that are started once."""
    return {
        "trained": [trained(processes, settings, data) for settings in every],
        "normalised": normalised(processes),
        "drawn": drawn(processes),
        "scored": scored(processes),
        "measured": measured(processes),
        "states": states_of(processes, RESUMED, data),
        "continued": states_of(processes, RESUMED, data, states[1]),
        "refused": refused(processes),
        "missed": missed(processes),
        "active": new_run(processes, {}, data).count_active(),
    }


RESUMED = {"beta": "auto", "epochs": 4, "lr_patience": 1}


def stopped(processes: Processes, settings: dict[str, Any], data: DataSet, rank: int) -> tuple[str, Arrays, Arrays]:
    """The sentence of a run in which the KL of one process is NaN for the ninth batch; the weights before that step, and at the end."""
    run = new_run(processes, settings, data)
    losses, batches, before = run.objective.losses, [], {}

    def broken(model: Any, x: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        batches.extend([x] if model.training else [])
        if len(batches) == 9 and not before:
            before.update({name: value.detach().numpy().copy() for name, value in model.state_dict().items()})
        terms = losses(model, x, generator)
        bad = processes.rank == rank and len(batches) >= 9 and torch.equal(x, batches[8])
        return terms | {"kl": terms["kl"] * float("nan"), "loss": terms["loss"] * float("nan")} if bad else terms

    run.objective.losses = broken  # pyright: ignore[reportAttributeAccessIssue]
    try:
        run.fit(lambda record: None)
    except TrainingError as error:
        return error.message, before, {name: value.detach().numpy().copy() for name, value in run.model.state_dict().items()}
    return "nothing stopped it", before, {}
