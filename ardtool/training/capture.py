"""What capturing a step needs: rates that a captured step can read, a state to go back to, and the CUDA graph itself.

A CUDA graph replays kernels on fixed addresses. So inputs, sums of losses, gradients and moments must stay where they are, nothing may
be read by the host, and whatever changes between replays must lie on the device: batches, learning rates, the state of the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

__all__ = ["Backend", "CudaGraph", "Rates", "Snapshot"]


class Backend(Protocol):
    """A way to run a body of work again and again on the same memory."""

    def warm_up(self, body: Callable[[], None]) -> None:
        """Run the body a few times, so that everything it makes only once is there."""
        ...

    def capture(self, body: Callable[[], None], noise: torch.Generator) -> Callable[[], object]:
        """What runs the body once, drawing from `noise` as it is then. The body itself need not be run here."""
        ...


class CudaGraph:
    """The body as one CUDA graph.

    Arguments:
        device: the GPU; it is the current one while this is used.
    """

    WARM_UPS = 3  # algorithms are chosen, workspaces and moments are made

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, body: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                for _ in range(self.WARM_UPS):
                    body()
        finally:  # what is put back after a failure must not be overtaken by what still runs
            current.wait_stream(self._stream)

    def capture(self, body: Callable[[], None], noise: torch.Generator) -> Callable[[], object]:
        graph = torch.cuda.CUDAGraph()
        if TorchVersion(torch.__version__) < "2.14":  # later a graph finds its generators by itself, and says so at every call
            graph.register_generator_state(noise)
        with torch.cuda.stream(self._stream):  # a capture that fails would leave its stream the current one
            with torch.cuda.graph(graph, stream=self._stream):
                body()
        return graph.replay


class Rates:
    """Learning rates on the device while steps run, plain numbers otherwise: for schedulers, records and checkpoints.

    The tensors stay the same, so a step that was captured once follows every change.

    Arguments:
        optimisers: whose rates.
        device: of the parameters.
    """

    def __init__(self, optimisers: Iterable[torch.optim.Optimizer], device: torch.device) -> None:
        self._optimisers = list(optimisers)
        self._tensors = [torch.zeros((), device=device) for _ in self._groups()]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self._optimisers for group in optimiser.param_groups]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Rates as tensors, in optimisers that may be captured."""
        groups = self._groups()
        numbers = [(group["lr"], group["capturable"]) for group in groups]
        for group, tensor, (rate, _) in zip(groups, self._tensors, numbers, strict=True):
            tensor.fill_(rate)
            group["lr"], group["capturable"] = tensor, True
        try:
            yield
        finally:
            for group, (rate, capturable) in zip(groups, numbers, strict=True):
                group["lr"], group["capturable"] = rate, capturable


class Snapshot:
    """Parameters, buffers and moments as they are now, to go back to after steps that were only tried.

    Arguments:
        modules: whose parameters and buffers.
        optimisers: whose moments.
    """

    def __init__(self, modules: Iterable[nn.Module], optimisers: Iterable[torch.optim.Optimizer]) -> None:
        tensors = {value: None for module in modules for value in (*module.parameters(), *module.buffers())}
        self._values = [(value, value.detach().clone()) for value in tensors]
        self._optimisers = list(optimisers)
        self._moments = {
            value: value.clone() for optimiser in self._optimisers for state in optimiser.state.values() for value in _tensors(state)
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back in place, where captured work will look for it; without gradients."""
        for value, before in self._values:
            value.copy_(before)
            value.grad = None
        for optimiser in self._optimisers:
            for state in optimiser.state.values():
                for value in _tensors(state):
                    if value in self._moments:
                        value.copy_(self._moments[value])
                    else:
                        value.zero_()  # as Adam and RMSProp start, the number of steps included


def _tensors(state: dict[str, Any]) -> list[Tensor]:
    return [value for value in state.values() if isinstance(value, Tensor)]
