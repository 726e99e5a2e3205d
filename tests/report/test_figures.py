"""Figures show what they are given: counts of bars, pixels of images, a red box only around what is not relevant."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ardtool.errors import StorageError
from ardtool.latent.relevance import AxisRelevance
from ardtool.report.figures import (
    history_figure,
    save_figure,
    scree_figure,
    traversal_figure,
    traversal_frames,
    vector_traversal_figure,
)

ROOT = Path(__file__).parents[2]
OFFSETS = [-3.0, -1.5, 0.0, 1.5, 3.0]


def ranked_axes(scores: list[float], active: int) -> list[AxisRelevance]:
    """Axes with these descending scores and with indices that run backwards."""
    total = sum(scores) or 1.0
    return [
        AxisRelevance(
            axis=len(scores) - 1 - rank,
            variance=1.0,
            weight=score,
            score=score,
            score_stderr=score / 10,
            explained=score / total,
            cumulative=sum(scores[: rank + 1]) / total,
            active=rank < active,
            kl=None,
            mean_variance=1.0,
            state="relevant" if rank < active else "weak",
        )
        for rank, score in enumerate(scores)
    ]


def grey_rows(count: int, channels: int = 1, side: int = 8) -> np.ndarray:
    """Images with shape (count, 5, side, side, channels) of random greys, never red."""
    grey = np.random.default_rng(0).integers(0, 256, (count, len(OFFSETS), side, side, 1), dtype=np.uint8)
    return grey.repeat(channels, axis=-1)


def pixels(figure: Any) -> np.ndarray:
    """What the figure looks like, 8-bit with shape (H, W, 3)."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return np.asarray(Image.open(file).convert("RGB"))


def pure_red(figure: Any) -> int:
    return int((pixels(figure) == [255, 0, 0]).all(axis=-1).sum())


def texts(figure: Any) -> set[str]:
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}


def labels_of(count: int) -> list[str]:
    return [f"axis {index} · {10 * index:.1f} %" for index in range(count)]


@pytest.mark.parametrize("latent", [1, 2, 16, 40, 512])
def test_scree_draws_a_bar_for_every_axis(latent: int) -> None:
    active = max(1, latent // 4)
    axes = ranked_axes([2.0 ** (-rank / 4) for rank in range(latent)], active)
    figure = scree_figure(axes, 0.99, active, (active, min(active + 1, latent)), "title of the figure")
    left, right = figure.axes
    bars = [bar for group in left.containers if hasattr(group, "patches") for bar in group]  # type: ignore[attr-defined]
    assert len(bars) == latent
    assert len({bar.get_facecolor() for bar in bars}) == (1 if latent == active else 2)
    assert "title of the figure" in texts(figure)
    assert right.get_ylim()[1] > 1
    assert pixels(figure).shape == (450, 1000, 3)


def test_scree_orders_by_score_and_names_the_axes() -> None:
    axes = ranked_axes([4.0, 2.0, 1.0, 1e-4], 3)
    figure = scree_figure(axes[::-1], 0.99, 3, (2, 3), "three of four")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["3", "2", "1", "0"]
    assert {"relevant axes: 3", "95 % interval: 2–3", "threshold: 99 %"} <= texts(figure)
    longest = max(right.lines, key=lambda line: len(np.asarray(line.get_xdata())))
    np.testing.assert_allclose(np.asarray(longest.get_ydata()), [0, *np.cumsum([axis.explained for axis in axes])])


def test_scree_gives_no_names_where_there_is_no_room() -> None:
    figure = scree_figure(ranked_axes([1.0] * 512, 507), 0.99, 507, (500, 510), "many")
    assert len(figure.axes[0].get_xticks()) < 20


@pytest.mark.parametrize("scores", [[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0, 1e-30, 0.0, 0.0]])
def test_scree_marks_axes_below_its_scale(scores: list[float]) -> None:
    active = int(scores[0] > 0)
    figure = scree_figure(ranked_axes(scores, active), 0.99, active, (active, active), "nearly nothing")
    assert pixels(figure).std() > 0
    low, high = figure.axes[0].get_ylim()
    assert 0 < low <= 1e-2
    assert high > 1
    assert (scores == [1.0, 0.0, 0.0, 0.0]) or low == pytest.approx(1e-6)
    assert "below the scale" in texts(figure)


@pytest.mark.parametrize("relevant", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_red_box_is_there_only_for_axes_that_are_not_relevant(relevant: int, channels: int) -> None:
    figure = traversal_figure(grey_rows(3, channels), labels_of(3), relevant, OFFSETS, "a title")
    assert (pure_red(figure) > 100) == (relevant < 3)
    assert ("not relevant" in texts(figure)) == (relevant < 3)
    assert {*labels_of(3), "−3σ", "−1.5σ", "0", "+1.5σ", "+3σ", "a title"} <= texts(figure)


def find(picture: np.ndarray, cell: np.ndarray) -> bool:
    """Whether `cell` occurs in the picture, pixel by pixel."""
    height, width = cell.shape[:2]
    tops, lefts = np.nonzero((picture[: -height + 1, : -width + 1] == cell[0, 0]).all(axis=-1))
    return any((picture[top : top + height, left : left + width] == cell).all() for top, left in zip(tops, lefts, strict=True))


def test_image_pixels_are_drawn_one_to_one_even_in_the_file(tmp_path: Path) -> None:
    rows = grey_rows(2)
    save_figure(traversal_figure(rows, labels_of(2), 1, OFFSETS, "exact"), tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    for row in range(2):
        for step in range(len(OFFSETS)):
            assert find(picture, rows[row, step].repeat(10, axis=0).repeat(10, axis=1).repeat(3, axis=-1))


def test_large_images_are_reduced() -> None:
    rows = np.full((1, 5, 300, 300, 3), 9, dtype=np.uint8)
    assert max(pixels(traversal_figure(rows, ["axis 0"], 1, OFFSETS, "large")).shape) < 1000


@pytest.mark.parametrize(("count", "relevant"), [(1, 1), (3, 2), (7, 4), (20, 4), (20, 18)])
def test_vectors_get_a_panel_each_on_one_scale(count: int, relevant: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, len(OFFSETS), 9))
    figure = vector_traversal_figure(rows, labels_of(count), relevant, OFFSETS, "vectors")
    panels = [ax for ax in figure.axes if ax.lines]
    assert len(panels) == min(count, 16)
    assert len({ax.get_ylim() for ax in panels}) == 1
    for panel, values in zip(panels, rows, strict=False):
        np.testing.assert_array_equal([np.asarray(line.get_ydata()) for line in panel.lines], values)
    assert (pure_red(figure) > 100) == (relevant < min(count, 16))
    assert any("first 16 of 20" in text for text in texts(figure)) == (count == 20)


def test_the_middle_of_the_colours_is_neutral_and_the_ends_are_not() -> None:
    figure = vector_traversal_figure(np.zeros((1, 5, 3)), ["axis 0"], 1, OFFSETS, "colours")
    colours: list[Any] = [line.get_color() for line in figure.axes[0].lines]
    assert np.ptp(colours[2][:3]) < 0.05
    assert colours[0][2] > colours[0][0]
    assert colours[-1][0] > colours[-1][2]


def record(epoch: int, loss: float, **state: float) -> dict[str, Any]:
    return {"epoch": epoch, "training": {"loss": loss}, "validation": {"loss": loss + 1}, "state": state}


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loss_is_logarithmic_only_where_it_is_positive(sign: int) -> None:
    figure = history_figure([record(epoch, sign * (9.0 - epoch)) for epoch in range(5)], "losses")
    (panel,) = figure.axes
    assert panel.get_yscale() == ("log" if sign > 0 else "linear")
    np.testing.assert_array_equal(np.asarray(panel.lines[0].get_ydata()), [sign * (9.0 - epoch) for epoch in range(5)])
    assert pixels(figure).std() > 0


def test_the_prior_has_a_panel_where_it_is_learned() -> None:
    history = [record(0, 3.0), record(1, 2.0, prior_variance_min=1e-4, prior_variance_max=2.0)]
    _, prior = history_figure(history, "prior").axes
    assert prior.get_yscale() == "log"
    np.testing.assert_array_equal(np.asarray(prior.lines[0].get_ydata()), [np.nan, 2.0])


@pytest.mark.parametrize("history", [[], [{"epoch": 0, "training": {"loss": 1.0}}], [record(0, float("nan"))]])
def test_short_and_broken_histories_can_be_drawn(history: list[dict[str, Any]]) -> None:
    assert pixels(history_figure(history, "short")).std() > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_frame_holds_every_axis_at_its_step(channels: int) -> None:
    rows = grey_rows(3, channels)
    rows[..., 3:] = 255
    frames = traversal_frames(rows, labels_of(3))
    assert len(frames) == len(OFFSETS)
    assert len({frame.size for frame in frames}) == 1
    for step, frame in enumerate(frames):
        picture = np.asarray(frame.convert("RGB"))
        for row in range(3):
            assert find(picture, rows[row, step, ..., :1].repeat(10, axis=0).repeat(10, axis=1).repeat(3, axis=-1))


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figures_are_saved_in_the_format_of_the_suffix(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / "deep" / f"a{suffix}"
    save_figure(history_figure([record(0, 1.0)], "saved"), path)
    assert path.read_bytes().startswith(start)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"'\.bmp'; expected one of \.png, \.svg, \.pdf"):
        save_figure(history_figure([], "never"), tmp_path / "a.bmp")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = history_figure([], "never")

    def full(target: Path, **_: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_figure(figure, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_no_figure_needs_pyplot(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from pathlib import Path
import ardtool.report.figures as figures
assert not {"matplotlib", "PIL"} & set(sys.modules), "imported at the start"
rows = np.zeros((2, 3, 8, 8, 1), dtype=np.uint8)
figures.save_figure(figures.traversal_figure(rows, ["a", "b"], 1, [-1, 0, 1], "t"), Path(sys.argv[1]) / "a.png")
figures.save_figure(figures.vector_traversal_figure(rows[..., 0, 0], ["a", "b"], 1, [-1, 0, 1], "t"), Path(sys.argv[1]) / "b.png")
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
