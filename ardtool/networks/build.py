"""From a record to a network: `NetworkAutoencoder` is the model that ardtool trains and saves."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior
from .architectures import network_named
from .execution import Execution
from .initialise import KERAS_EPS, KERAS_MOMENTUM
from .specs import KERNEL, ConvolutionalSpec, DenseSpec

__all__ = ["ACTIVATIONS", "NetworkAutoencoder", "architecture_record", "build_network"]

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "identity": lambda x: x}
LOG_VARIANCE_RANGE = (-15.0, 10.0)
SMOOTHING_KERNEL = 3


class NetworkAutoencoder(nn.Module):
    """An encoder and a decoder, both `nn.Sequential`, whose code sits between two dense layers.

    The encoder's last layer and the decoder's first are `nn.Linear`, so latent axes can be removed exactly. Weights of convolutions lie
    channels last in memory, as GPUs and CPUs take them fastest; in files they are as everybody's.

    Arguments:
        record: what `architecture_record` returns.
        encoder: maps (N, *input_shape) to (N, 2L), means then log variances, or to (N, L) where deterministic; inputs are 2x − 1 where
            the record says `centred`.
        decoder: maps (N, L) to (N, *input_shape) before the output activation.

    Attributes:
        execution: how the layers are run while the network is trained; None: as they are.
    """

    def __init__(self, record: dict[str, Any], encoder: nn.Sequential, decoder: nn.Sequential) -> None:
        super().__init__()
        self.record = record
        self.encoder = encoder
        self.decoder = decoder
        self.input_shape = tuple(record["input_shape"])
        self.latent_shape = (int(record["latent_dim"]),)
        self.execution: Execution | None = None
        self._activation = ACTIVATIONS[record["output"]]
        self._centred = record.get("centred", record["value_range"] == [0.0, 1.0])  # files from before the rivals' networks do not say

    @property
    def memory_format(self) -> torch.memory_format:
        """How images are best laid out for it."""
        return torch.channels_last if any(weight.ndim == 4 for weight in self.parameters()) else torch.contiguous_format

    def encode(self, x: Tensor) -> Posterior:
        """The posterior of samples x with shape (N, *input_shape) in the data's range; log variances are clamped to [-15, 10]."""
        x = 2 * x - 1 if self._centred else x
        hidden = self.encoder(x) if self.execution is None else self.execution.encode(x)
        if not self.record["stochastic"]:
            return Posterior(hidden)
        mean, log_variance = hidden.chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        """Means of the likelihood with shape (N, *input_shape) in the data's range."""
        return self.activate(self.decode_raw(z))

    def decode_raw(self, z: Tensor) -> Tensor:
        """Decoder outputs before the output activation: the logits of a Bernoulli likelihood."""
        return self.decoder(z) if self.execution is None else self.execution.decode(z)

    def activate(self, raw: Tensor) -> Tensor:
        """The output activation."""
        return self._activation(raw)


def architecture_record(
    arch: str, input_shape: tuple[int, ...], latent_dim: int, *, value_range: tuple[float, float] | None, stochastic: bool = True
) -> dict[str, Any]:
    """The record of a network for data of some shape.

    Arguments:
        arch: a name that `network_named` knows, or `auto`, `conv` for images and `dense` for vectors.
        input_shape: (C, H, W) or (D,).
        latent_dim: L ≥ 1.
        value_range: range of pixel values; None for vectors.
        stochastic: whether the encoder has log variances.

    Raises:
        ConfigError: the architecture does not take inputs of this shape.
    """
    name = arch.replace("auto", "conv" if len(input_shape) == 3 else "dense")
    architecture = network_named(name)
    architecture.check(name, input_shape)
    output = {None: "identity", (0.0, 1.0): "sigmoid", (-1.0, 1.0): "tanh"}[value_range]
    return {
        "name": name,
        "input_shape": list(input_shape),
        "latent_dim": latent_dim,
        "stochastic": stochastic,
        "output": output,
        "value_range": None if value_range is None else list(value_range),
        "centred": value_range == (0.0, 1.0) and architecture.spec_for(input_shape).centred,
    }


def build_network(record: dict[str, Any], generator_seed: int | None = None) -> NetworkAutoencoder:
    """Build the network that a record describes.

    Arguments:
        record: `name` of the architecture, `input_shape` and `latent_dim`, and what else it takes.
        generator_seed: of the initial weights; None where they are to be filled from a file, for weights of torch's current seed.

    Raises:
        ConfigError: the record names an unknown architecture.
    """
    architecture = network_named(record["name"])
    with torch.random.fork_rng(devices=[]):
        if generator_seed is not None:
            torch.manual_seed(generator_seed)
        shape, latent_dim = tuple(record["input_shape"]), int(record["latent_dim"])
        outputs = latent_dim * (2 if record["stochastic"] else 1)
        spec = architecture.spec_for(shape)
        if isinstance(spec, DenseSpec):
            network = NetworkAutoencoder(record, _dense_encoder(spec, shape, outputs), _dense_decoder(spec, shape, latent_dim))
        else:
            network = NetworkAutoencoder(record, _conv_encoder(spec, shape, outputs), _conv_decoder(spec, shape, latent_dim))
        if spec.initialise is not None:
            spec.initialise(network)
        return network.to(memory_format=network.memory_format)


def _conv_encoder(spec: ConvolutionalSpec, shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels, height, width = shape
    for out, kernel in spec.encoder_layers:
        layers += [nn.Conv2d(channels, out, kernel, stride=2, padding=kernel // 2 - 1), *_normalise(spec, out), spec.activation()]
        channels, height, width = out, height // 2, width // 2
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
        layers += [*_enlarged(spec, channels, out, (height, width), target, 2), *_normalise(spec, out), spec.activation()]
        channels, (height, width) = out, target
    return nn.Sequential(*layers, *_enlarged(spec, channels, shape[0], (height, width), spec.sizes[-1], spec.last_stride))


def _normalise(spec: ConvolutionalSpec, channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=KERAS_EPS, momentum=KERAS_MOMENTUM)] if spec.batch_norm else []


def _enlarged(
    spec: ConvolutionalSpec, channels: int, out: int, size: tuple[int, int], target: tuple[int, int], stride: int
) -> list[nn.Module]:
    """The layers that turn `size` into `target`; with stride 1 these are equal."""
    if spec.enlarging == "nearest":
        repeated = [] if stride == 1 else [nn.Upsample(size=target, mode="nearest")]
        return [*repeated, nn.Conv2d(channels, out, SMOOTHING_KERNEL, padding=SMOOTHING_KERNEL // 2)]
    if stride == 1:
        return [SameConvTranspose2d(channels, out)]
    extra = (target[0] - 2 * size[0], target[1] - 2 * size[1])
    return [nn.ConvTranspose2d(channels, out, KERNEL, stride=2, padding=1, output_padding=extra)]


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A stride-1 transposed convolution with an even kernel that keeps the size: one row and column more is cropped at the end than at
    the start, as TensorFlow's "same" padding does."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, KERNEL, stride=1, padding=1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(input, output_size)[..., :-1, :-1]


def _dense_encoder(spec: DenseSpec, shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers, features = _hidden(spec, math.prod(shape))
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(features, outputs))


def _dense_decoder(spec: DenseSpec, shape: tuple[int, ...], latent_dim: int) -> nn.Sequential:
    layers, features = _hidden(spec, latent_dim)
    return nn.Sequential(*layers, nn.Linear(features, math.prod(shape)), nn.Unflatten(1, shape))


def _hidden(spec: DenseSpec, features: int) -> tuple[list[nn.Module], int]:
    """The hidden layers for inputs of so many features, and how many features come out."""
    layers: list[nn.Module] = []
    for units in spec.units:
        layers += [nn.Linear(features, units), spec.activation()]
        features = units
    return layers, features
