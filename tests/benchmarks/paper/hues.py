"""Why more than six axes are counted of the six factors of `shapes3d-render`: whether its three hues are circles in the codes, too.

    python tests/benchmarks/paper/hues.py --scale full      the paper's networks and epochs on all images, five seeds
    python tests/benchmarks/paper/hues.py --scale small     a quarter of the width, 20 epochs of 10,000 images, one seed

The runs of warmup.py whose β rises, at the two smallest L. For each factor the mean code of each of its values is taken over 6,000 images,
in standard deviations of the active axes. On a circle these means need two directions of equal size and no third, and the last value is one
step from the first; on a line they need one, and the ends are the farthest apart.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import warmup
from experiment import main, plus_minus, table, whole_counts

NAME, DATA, IMAGES = "hues", "shapes3d-render", 6_000
SIZES = warmup.SIZES[DATA][:2]


def cases(scale: str, seeds: int) -> list[dict[str, Any]]:
    runs = [case for case in warmup.cases(scale, seeds) if case["data"] == DATA and case["L"] in SIZES and case["beta_warmup"]]
    return [{name: value for name, value in case.items() if name != "votes"} for case in runs]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    import ardtool

    settings = {name: value for name, value in case.items() if name != "L"}
    with tempfile.TemporaryDirectory() as name:
        result = ardtool.train(**settings, latent=case["L"], out=Path(name) / "run")
        return {"axes": result.active, "factors": means_by_value(result, case["seed"])}


def means_by_value(result: Any, seed: int) -> dict[str, dict[str, Any]]:
    """Of each factor how the mean codes of its values lie."""
    import torch

    import ardtool
    from ardtool.commands.opening import encode_all

    model, data = ardtool.load_model(result.model), ardtool.open_data(DATA)
    assert data.grid is not None, "drawn data are a grid"
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:IMAGES]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network: Any = model.autoencoder
    codes = encode_all(network.to(device), data, device, index).mean.cpu()[:, result.relevance.active_axes].double()
    codes = (codes - codes.mean(0)) / codes.std(0)
    factors = {}
    for (factor, size), value in zip(data.grid.values.items(), data.grid.factors_of(index).T, strict=True):
        means = torch.stack([codes[value == each].mean(0) for each in range(size)])
        steps = means.diff(dim=0).norm(dim=1)
        factors[factor] = {
            "directions": torch.linalg.svdvals(means - means.mean(0))[:3].tolist(),
            "share": float((means - means.mean(0)).square().sum(1).mean()) / codes.shape[1],
            "closing": float((means[-1] - means[0]).norm() / steps.mean()),
        }
    return factors


def tables(records: list[dict[str, Any]]) -> str:
    rows = []
    for latent in SIZES:
        runs = [run for run in records if run["case"]["L"] == latent]
        for factor in runs[0]["factors"] if runs else ():
            found = [run["factors"][factor] for run in runs]
            ratios = [plus_minus([each["directions"][place] / each["directions"][0] for each in found]) for place in (1, 2)]
            share, closing = plus_minus([100 * each["share"] for each in found], 1), plus_minus([each["closing"] for each in found])
            rows.append([latent, whole_counts(run["axes"] for run in runs), factor, f"{share} %", *ratios, closing])
    header = [
        "L",
        "active",
        "factor",
        "of the codes' variance",
        "second direction / first",
        "third / first",
        "last to first value, in steps",
    ]
    return f"{table(header, rows)}\n\nA circle has 1, 0 and 1 in the last three columns."


if __name__ == "__main__":
    main(sys.modules[__name__])
