"""ardtool: how many latent dimensions an autoencoder really uses, which ones, and the smaller model.

    import ardtool
    result = ardtool.train(data="sprites", latent=16)          # or: ardtool train
    result = ardtool.relevance("runs/…/model.safetensors")     # or: ardtool relevance
    model = ardtool.ModulePair(my_encoder, my_decoder, input_shape=(1, 28, 28), latent_dim=32)
    result = ardtool.relevance(model, data=images)

Names are imported when they are first used, so that `import ardtool` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .autoencoder import Autoencoder, ModulePair, Posterior
    from .commands.compare import compare
    from .commands.convert import convert
    from .commands.encode import decode, encode
    from .commands.evaluate import evaluate
    from .commands.inspect import inspect
    from .commands.prune import prune
    from .commands.relevance import relevance
    from .commands.sample import sample
    from .commands.train import train
    from .commands.traverse import traverse
    from .data.catalogue import open_data
    from .errors import ArdtoolError
    from .latent.pruning import PrunedAutoencoder
    from .registry import PluginSpec
    from .storage.model_file import load_model
    from .training.config import TrainConfig

_HOMES = {
    "ArdtoolError": "errors",
    "Autoencoder": "autoencoder",
    "ModulePair": "autoencoder",
    "PluginSpec": "registry",
    "Posterior": "autoencoder",
    "PrunedAutoencoder": "latent.pruning",
    "TrainConfig": "training.config",
    "compare": "commands.compare",
    "convert": "commands.convert",
    "decode": "commands.encode",
    "encode": "commands.encode",
    "evaluate": "commands.evaluate",
    "inspect": "commands.inspect",
    "load_model": "storage.model_file",
    "open_data": "data.catalogue",
    "prune": "commands.prune",
    "relevance": "commands.relevance",
    "sample": "commands.sample",
    "train": "commands.train",
    "traverse": "commands.traverse",
}

__all__ = [
    "ArdtoolError",
    "Autoencoder",
    "ModulePair",
    "PluginSpec",
    "Posterior",
    "PrunedAutoencoder",
    "TrainConfig",
    "__version__",
    "compare",
    "convert",
    "decode",
    "encode",
    "evaluate",
    "inspect",
    "load_model",
    "open_data",
    "prune",
    "relevance",
    "sample",
    "train",
    "traverse",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ardtool' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
