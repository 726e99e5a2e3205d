"""What a finished run shows: a page of all of it, and pictures of the axes' shares, training, what each axis does, and new samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..report.figures import history_figure, save_figure, scree_figure
from ..storage.model_file import load_model
from ..storage.run_folder import RunFolder
from .opening import choose_device
from .page import write_page
from .sample import sample
from .train import TrainResult
from .traverse import traverse

__all__ = ["write_report"]


def write_report(result: TrainResult, device: str = "auto") -> list[Path]:
    """Write report.html, scree.png, history.png, traversal.png and, for images, samples.png into the run folder; returns their paths.

    Raises:
        StorageError: a picture cannot be written.
    """
    folder, scores = RunFolder(Path(result.run)), result.relevance
    model = load_model(folder.model, "cpu")
    title = f"{scores.active} of {scores.latent_dim} latent axes are relevant"
    files = [folder.path / name for name in ("scree.png", "history.png", "traversal.png")]
    save_figure(scree_figure(scores.axes, scores.threshold, scores.active, scores.active_interval, title), files[0])
    save_figure(history_figure(_history(folder.history), f"{result.epochs} epochs"), files[1])
    traverse(model, out=files[2], axes="all", device=device)
    if len(model.autoencoder.input_shape) == 3 and scores.active:
        files.append(folder.path / "samples.png")
        sample(model, out=files[3], device=device)
    assert model.codes is not None, "a finished run holds codes"
    chosen = choose_device(device)
    model.autoencoder.to(chosen)  # type: ignore[attr-defined]
    files.append(write_page(folder.page, model, model.codes, scores, examples=result.examples, device=chosen))
    return files


def _history(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
