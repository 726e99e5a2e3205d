"""From a module to a graph: torch.export with a free batch size, then everything that the graph does not read is taken out.

A decoder is traced up to three times, each slower than the one before, until the batch size stays free:

    1. by running it: one pass, no bound on the batch
    2. with the bounds left to torch, for code that takes another path for large batches (`if x.shape[0] >= 64`); `largest_batch` tells
    3. by reading its bytecode, for code that asks for a Python number (`len(z)`)
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from ..errors import ArdtoolError

__all__ = ["EXPORTS", "cannot_export", "largest_batch", "one_line", "silence", "trace_decoder"]

EXPORTS = ("safetensors", "pt2", "onnx")
CONSTRAINED = "Constraints violated"
LONGEST_REASON = 200


def trace_decoder(module: nn.Module, inputs: dict[str, Tensor]) -> ExportedProgram:
    """The graph of a module for any batch size.

    Arguments:
        module: in inference mode.
        inputs: example inputs by the names of `forward`'s arguments, two samples each, the batch first.
    """

    def export(dim: object, strict: bool) -> ExportedProgram:
        shapes = {name: {0: dim} for name in inputs}
        return torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=strict)

    program = None
    for dim, strict in ((Dim("batch", min=1), False), (Dim.DYNAMIC, False), (Dim.DYNAMIC, True)):
        try:
            program = export(dim, strict)
            break
        except Exception as error:
            if strict or CONSTRAINED not in str(error):
                raise
    assert program is not None, "the last attempt returns or raises"
    _strip(program)
    return program


def largest_batch(program: ExportedProgram) -> int | None:
    """The largest number of samples that a graph takes at once; None where there is no bound."""
    bounds = [each.upper for each in program.range_constraints.values()]
    return min((int(bound) for bound in bounds if bound.is_number and bound.is_finite and bound < 2**31), default=None)


def cannot_export(kind: str, error: Exception, others: tuple[str, ...] = EXPORTS[:1]) -> ArdtoolError:
    """The line for a decoder that cannot be exported.

    Arguments:
        others: the exports that may do. What cannot be traced can be neither pt2 nor onnx.
    """
    text = str(error)
    reason, hint = one_line(error), f"Use {' or '.join(f'--export {other}' for other in others)}."
    if "data-dependent" in text.lower():
        places = re.findall(r'File "([^"]+)", line (\d+)', text)
        where = f" ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else ""
        reason = f"its Python code depends on the values of a tensor{where}"
        hint = f"Write that with torch.where, or use --export {others[0]}."
    elif CONSTRAINED in text:
        reason = "its code fixes the number of samples, by a constant shape or a Python loop over samples"
    return ArdtoolError(f"The decoder cannot be exported as {kind}: {reason}.", hint)


def one_line(error: BaseException) -> str:
    """The innermost cause of an exception in one line without a full stop."""
    seen: set[int] = set()
    while error.__cause__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason given"
    if len(first) > LONGEST_REASON:
        first = first[: LONGEST_REASON - 1] + "…"
    return f"{type(error).__name__}: {first}".rstrip(".")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep prints, warnings and log lines of libraries off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(program: ExportedProgram) -> None:
    """Take out weights that the graph does not read (the encoder's, above all) and the source lines of each operation."""
    graph = program.graph
    unread = {node.name: node for node in graph.nodes if node.op == "placeholder" and not node.users}
    weights = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
    kept = []
    for spec in program.graph_signature.input_specs:
        if spec.arg.name in unread and spec.kind in weights:
            graph.erase_node(unread[spec.arg.name])
        else:
            kept.append(spec)
    program.graph_signature.input_specs[:] = kept
    read = {spec.target for spec in kept}
    for tensors in (program.state_dict, program.constants):
        for name in [name for name in tensors if name not in read]:
            del tensors[name]
    for node in graph.nodes:
        node.meta.pop("stack_trace", None)
    program.graph_module.recompile()
