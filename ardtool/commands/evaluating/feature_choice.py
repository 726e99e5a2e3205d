"""`--features`: which features samples are compared by, and what that makes of a metric's name.

inception         the network that FID is defined by; the default for images
pixels            flattened pixels in [0, 1], or the values of vectors; the default for vectors
FILE.npz          features that the user has computed
MODEL             posterior means of a model's encoder: a file or run folder of ardtool, or a foreign model
module:function   a Python function of the user's own
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from ...data.dataset import Scaling
from ...errors import ConfigError
from .feature_file import FeatureFile, read_features
from .features import Extractor
from .inception import InceptionFeatures
from .own_features import FunctionFeatures, ModelFeatures, PixelFeatures

__all__ = ["metric_name", "open_features"]

KNOWN = "inception, pixels, an .npz file of features, a model's file or run folder, or module:function"
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
WITHOUT_INCEPTION = {"fid": "fd", "kid": "kd"}  # the I of these names is the network


def open_features(
    spec: str | Path | None,
    example: Tensor,
    device: torch.device | str = "cpu",
    *,
    inception_weights: Path | None = None,
    scaling: Scaling | None = None,
    plugin: str | Path | None = None,
    trust: bool = False,
) -> Extractor | FeatureFile:
    """What `--features` asks for.

    Arguments:
        spec: a line of the table above; None for the default.
        example: a few of the samples (see `features.py`), to check their shape and to try a function on.
        device: where networks compute.
        inception_weights: file of the Inception network; None for the one in torch's cache.
        scaling: how `pixels` standardises vectors, or None.
        plugin, trust: how a foreign model is opened, see `open_model`.

    Raises:
        ConfigError: it is none of these, or something is missing.
        DataError, ModelFileError, PluginError: it does not suit the samples, or cannot be read.
    """
    chosen = str(spec) if spec is not None else "inception" if example.ndim == 4 else "pixels"
    if inception_weights is not None and chosen != "inception":
        raise ConfigError(f"--inception-weights has no effect on --features {chosen}.", "Leave it out.")
    if chosen == "inception":
        return InceptionFeatures(inception_weights, example, device)
    if chosen == "pixels":
        return PixelFeatures(example, scaling)
    path = Path(chosen).expanduser()
    if path.suffix.lower() == ".npz":
        return read_features(path)
    if chosen and path.exists():
        return ModelFeatures(path, example, device, plugin=plugin, trust=trust)
    if FUNCTION.fullmatch(chosen):
        return FunctionFeatures(chosen, example)
    raise ConfigError(f"--features is '{chosen}', which does not exist; expected {KNOWN}.", "For example --features pixels.")


def metric_name(metric: str, features: Extractor | FeatureFile) -> str:
    """A metric's name with these features: `fid` and `kid` by the published Inception network alone, else as in `fd[pixels]`.

    Any other metric keeps its name and gets the brackets: `precision` by Inception, `precision[pixels]` by pixels.
    """
    return metric if features.label == "inception" else f"{WITHOUT_INCEPTION.get(metric, metric)}[{features.label}]"
