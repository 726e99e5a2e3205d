"""A small random model of each of the five classes, as the library saves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

KL = {
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 8,
}
TWO_LEVELS = {
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
}
# of every class: what makes it, and the shape of its codes
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "AutoencoderKL": (KL | TWO_LEVELS | {"block_out_channels": (8, 8)}, (4, 4, 4)),
    "AsymmetricAutoencoderKL": (
        {
            **TWO_LEVELS,
            "down_block_out_channels": (8, 8),
            "up_block_out_channels": (8, 16),
            "latent_channels": 4,
            "norm_num_groups": 4,
            "sample_size": 8,
        },
        (4, 4, 4),
    ),
    "AutoencoderTiny": (
        {
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "num_encoder_blocks": (1, 1),
            "num_decoder_blocks": (1, 1),
        },
        (4, 4, 4),
    ),
    "AutoencoderDC": (
        {
            "latent_channels": 8,
            "attention_head_dim": 4,
            "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "encoder_layers_per_block": (1, 1),
            "decoder_layers_per_block": (1, 1),
            "encoder_qkv_multiscales": ((), (5,)),
            "decoder_qkv_multiscales": ((), (5,)),
        },
        (8, 4, 4),
    ),
    "VQModel": (
        KL | TWO_LEVELS | {"block_out_channels": (8, 8), "latent_channels": 4, "vq_embed_dim": 3, "num_vq_embeddings": 16},
        (3, 4, 4),
    ),
}


def make(name: str, **changes: Any) -> Any:
    """A random model that writes its codes clearly: small posterior variances, and codes as spread as its images."""
    torch.manual_seed(0)
    model = getattr(diffusers, name)(**(MODELS[name][0] | changes)).eval()
    if name in ("AutoencoderKL", "AsymmetricAutoencoderKL") and model.quant_conv is not None:
        channels = MODELS[name][1][0]
        with torch.no_grad():
            model.quant_conv.weight[channels:] = 0
            model.quant_conv.bias[channels:] = -10
    return model


def save(model: nn.Module, folder: Path, **options: Any) -> Path:
    """`save_pretrained`, with a small size of images where the class has none."""
    writer: Any = model
    writer.save_pretrained(folder, **options)
    config = json.loads((folder / "config.json").read_text())
    if "sample_size" not in config:
        (folder / "config.json").write_text(json.dumps(config | {"sample_size": 8}))
    return folder


@pytest.fixture(params=list(MODELS))
def name(request) -> str:
    """Each of the five classes in turn."""
    return request.param


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    return make


@pytest.fixture(scope="session")
def save_model() -> Callable[..., Path]:
    return save


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory) -> Callable[[str], Path]:
    """The saved model of a class; do not change it."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = save(make(name), tmp_path_factory.mktemp("models") / name)
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def latent_shapes() -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (_, shape) in MODELS.items()}


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """16 images in [0, 1] with shape (16, 3, 8, 8): patches of random colours and sizes, so that their codes differ."""
    random = np.random.default_rng(0)
    patches = random.uniform(size=(16, 3, 4, 4)).repeat(2, axis=2).repeat(2, axis=3)
    return torch.from_numpy(patches * random.uniform(size=(16, 1, 1, 1))).float()
