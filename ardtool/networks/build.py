"""From a record to a network: `NetworkAutoencoder` is the model that ardtool trains and saves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior
from ..errors import ConfigError
from .initialise import KERAS_EPS, KERAS_MOMENTUM, initialise_like_keras
from .specs import PAPER_NETWORKS, ConvolutionalSpec, default_convolutional

__all__ = ["ACTIVATIONS", "ARCHITECTURES", "NetworkAutoencoder", "architecture_record", "build_network"]

ARCHITECTURES = ("auto", "conv", "dense", "paper", *PAPER_NETWORKS)
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda x: x}
LOG_VARIANCE_RANGE = (-15.0, 10.0)
KERNEL = 4
DENSE_UNITS = (256, 256)


class NetworkAutoencoder(nn.Module):
    """An encoder and a decoder, both `nn.Sequential`, whose code sits between two dense layers.

    The encoder's last layer and the decoder's first are `nn.Linear`, so latent axes can be removed exactly.

    Arguments:
        record: what `architecture_record` returns.
        encoder: maps (N, *input_shape) in [-1, 1] to (N, 2L), means then log variances, or to (N, L) where deterministic.
        decoder: maps (N, L) to (N, *input_shape) before the output activation.
    """

    def __init__(self, record: dict[str, Any], encoder: nn.Sequential, decoder: nn.Sequential) -> None:
        super().__init__()
        self.record = record
        self.encoder = encoder
        self.decoder = decoder
        self.input_shape = tuple(record["input_shape"])
        self.latent_shape = (int(record["latent_dim"]),)
        self._activation = ACTIVATIONS[record["output"]]
        self._centre_input = record["value_range"] == [0.0, 1.0]

    def encode(self, x: Tensor) -> Posterior:
        """The posterior of samples x with shape (N, *input_shape) in the data's range; log variances are clamped to [-15, 10]."""
        hidden = self.encoder(2 * x - 1 if self._centre_input else x)
        if not self.record["stochastic"]:
            return Posterior(hidden)
        mean, log_variance = hidden.chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        """Means of the likelihood with shape (N, *input_shape) in the data's range."""
        return self.activate(self.decode_raw(z))

    def decode_raw(self, z: Tensor) -> Tensor:
        """Decoder outputs before the output activation: the logits of a Bernoulli likelihood."""
        return self.decoder(z)

    def activate(self, raw: Tensor) -> Tensor:
        """The output activation."""
        return self._activation(raw)


def architecture_record(
    arch: str, input_shape: tuple[int, ...], latent_dim: int, *, value_range: tuple[float, float] | None, stochastic: bool = True
) -> dict[str, Any]:
    """The record of a network for data of some shape.

    Arguments:
        arch: one of `ARCHITECTURES`; `auto` is `conv` for images and `dense` for vectors.
        input_shape: (C, H, W) or (D,).
        latent_dim: L ≥ 1.
        value_range: range of pixel values; None for vectors.
        stochastic: whether the encoder has log variances.

    Raises:
        ConfigError: the architecture does not take inputs of this shape.
    """
    is_image = len(input_shape) == 3
    name = ("conv" if is_image else "dense") if arch == "auto" else arch
    if name in PAPER_NETWORKS and tuple(PAPER_NETWORKS[name][0]) != tuple(input_shape):
        expected = "×".join(map(str, PAPER_NETWORKS[name][0]))
        raise ConfigError(
            f"--arch {name} takes images of {expected}; the data are {'×'.join(map(str, input_shape))}.",
            "Use --arch auto, or --image-size.",
        )
    if name == "conv" and (not is_image or min(input_shape[1:]) < 8):
        raise ConfigError(
            f"--arch conv takes images of at least 8×8 pixels; the data are {'×'.join(map(str, input_shape))}.", "Use --arch dense."
        )
    output = {None: "identity", (0.0, 1.0): "sigmoid", (-1.0, 1.0): "tanh"}[value_range]
    return {
        "name": name,
        "input_shape": list(input_shape),
        "latent_dim": latent_dim,
        "stochastic": stochastic,
        "output": output,
        "value_range": None if value_range is None else list(value_range),
    }


def build_network(record: dict[str, Any], generator_seed: int | None = None) -> NetworkAutoencoder:
    """Build the network that a record describes, initialised from a seed (or not at all seeded, to be filled from a file).

    Raises:
        ConfigError: the record names an unknown architecture.
    """
    with torch.random.fork_rng(devices=[]):
        if generator_seed is not None:
            torch.manual_seed(generator_seed)
        shape, latent_dim = tuple(record["input_shape"]), int(record["latent_dim"])
        outputs = latent_dim * (2 if record["stochastic"] else 1)
        if record["name"] == "dense":
            return NetworkAutoencoder(record, _dense_encoder(shape, outputs), _dense_decoder(shape, latent_dim))
        if record["name"] == "conv":
            spec = default_convolutional(shape)
        elif record["name"] in PAPER_NETWORKS:
            spec = PAPER_NETWORKS[record["name"]][1]
        else:
            raise ConfigError(f"Unknown architecture '{record['name']}'.", f"Known are {', '.join(ARCHITECTURES)}.")
        network = NetworkAutoencoder(record, _conv_encoder(spec, shape, outputs), _conv_decoder(spec, shape, latent_dim))
        if spec.keras:
            initialise_like_keras(network)
        return network


def _conv_encoder(spec: ConvolutionalSpec, shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = shape[0]
    for width in spec.encoder:
        layers += [nn.Conv2d(channels, width, KERNEL, stride=2, padding=1, bias=True), *_normalise(spec, width), spec.activation()]
        channels = width
    height, width = shape[1], shape[2]
    for _ in spec.encoder:
        height, width = height // 2, width // 2
    features = channels * height * width
    layers.append(nn.Flatten())
    if spec.dense:
        layers += [nn.Linear(features, spec.dense), spec.activation()]
        features = spec.dense
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def _conv_decoder(spec: ConvolutionalSpec, shape: tuple[int, ...], latent_dim: int) -> nn.Sequential:
    channels, height, width = spec.start
    layers: list[nn.Module] = []
    features = latent_dim
    if spec.dense:
        layers += [nn.Linear(latent_dim, spec.dense), spec.activation()]
        features = spec.dense
    layers.append(nn.Linear(features, channels * height * width))
    if spec.dense:
        layers.append(spec.activation())
    layers.append(nn.Unflatten(1, spec.start))
    for out, target in zip(spec.decoder, spec.sizes, strict=False):
        layers += [_upsample(channels, out, (height, width), target, 2), *_normalise(spec, out), spec.activation()]
        channels, (height, width) = out, target
    return nn.Sequential(*layers, _upsample(channels, shape[0], (height, width), spec.sizes[-1], spec.last_stride))


def _normalise(spec: ConvolutionalSpec, channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=KERAS_EPS, momentum=KERAS_MOMENTUM)] if spec.batch_norm else []


def _upsample(channels: int, out: int, size: tuple[int, int], target: tuple[int, int], stride: int) -> nn.Module:
    """A transposed convolution with "same" padding that turns `size` into `target`."""
    if stride == 1:
        return SameConvTranspose2d(channels, out)
    extra = (target[0] - 2 * size[0], target[1] - 2 * size[1])
    return nn.ConvTranspose2d(channels, out, KERNEL, stride=2, padding=1, output_padding=extra)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A stride-1 transposed convolution with an even kernel that keeps the size: one row and column more is cropped at the end than at
    the start, as TensorFlow's "same" padding does."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, KERNEL, stride=1, padding=1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(input, output_size)[..., :-1, :-1]


def _dense_encoder(shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    features = _features(shape)
    layers: list[nn.Module] = [nn.Flatten()]
    for units in DENSE_UNITS:
        layers += [nn.Linear(features, units), nn.SiLU()]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def _dense_decoder(shape: tuple[int, ...], latent_dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    features = latent_dim
    for units in DENSE_UNITS:
        layers += [nn.Linear(features, units), nn.SiLU()]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, _features(shape)), nn.Unflatten(1, shape))


def _features(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
