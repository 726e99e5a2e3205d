"""Architectures as data: the paper's networks (supp. Tables 4 and 5), a small convolutional default, dense nets for vectors.

A record (a plain dict that JSON can hold) names the architecture, the input shape and the latent size; `build.build_network` makes the
module from it, so that nothing on disk chooses a class. The rivals' networks are in `rivals.py`, the table of all in `architectures.py`.

Read from supp. Tables 4 and 5: every kernel is 4×4 with "same" padding, stride 2 unless stated; (de)convolution → BatchNorm → ReLU;
the decoder's first dense layer has no activation. Table 5 has no BatchNorm. The paper prints k = 1 for ARD-VAE; a stochastic encoder
needs 2L outputs, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from .initialise import initialise_like_keras

__all__ = ["LINEAR", "OWN_DENSE", "PAPER_NETWORKS", "SMALL_SIDE", "ConvolutionalSpec", "DenseSpec", "default_convolutional", "halved"]

SMALL_SIDE = 8
KERNEL = 4


@dataclass(frozen=True)
class ConvolutionalSpec:
    """A convolutional autoencoder.

    Attributes:
        encoder: output channels of the stride-2 convolutions.
        kernels: their kernel sizes, even numbers; empty for 4 everywhere.
        dense: units of a hidden dense layer on both sides of the code; 0 for none.
        start: channels and size (C, H, W) that the decoder's dense part produces.
        decoder: output channels of the decoder's convolutions before the last one.
        last_stride: stride of the last one, which makes the image: 2, or 1 where it keeps the size.
        sizes: output (H, W) of every convolution of the decoder.
        enlarging: transposed 4×4 convolutions, or repetition of the nearest pixel, which has no parameters, before 3×3 convolutions.
        batch_norm: whether every hidden (de)convolution is followed by BatchNorm.
        activation: after every hidden layer.
        initialise: draws the weights; None for torch's own draws.
        centred: whether the encoder takes images in [0, 1] as 2x − 1.
    """

    encoder: tuple[int, ...]
    start: tuple[int, int, int]
    decoder: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    kernels: tuple[int, ...] = ()
    dense: int = 0
    last_stride: int = 2
    enlarging: Literal["transposed", "nearest"] = "transposed"
    batch_norm: bool = True
    activation: type[nn.Module] = nn.ReLU
    initialise: Callable[[nn.Module], None] | None = initialise_like_keras
    centred: bool = True

    @property
    def encoder_layers(self) -> tuple[tuple[int, int], ...]:
        """(output channels, kernel size) of every convolution of the encoder."""
        return tuple(zip(self.encoder, self.kernels or (KERNEL,) * len(self.encoder), strict=True))

    def narrowed(self, divisor: int) -> ConvolutionalSpec:
        """The same layers with 1/divisor of the channels and hidden units, at least one of each."""
        return replace(
            self,
            encoder=_divided(self.encoder, divisor),
            decoder=_divided(self.decoder, divisor),
            start=(*_divided(self.start[:1], divisor), *self.start[1:]),
            dense=self.dense and max(1, self.dense // divisor),
        )


@dataclass(frozen=True)
class DenseSpec:
    """A dense autoencoder for vectors, and for images taken as vectors of their pixels.

    Attributes:
        units: units of the hidden layers, the same on both sides of the code.
        activation: after every hidden layer.
        initialise: draws the weights; None for torch's own draws.
        centred: whether the encoder takes images in [0, 1] as 2x − 1.
    """

    units: tuple[int, ...]
    activation: type[nn.Module] = nn.ReLU
    initialise: Callable[[nn.Module], None] | None = None
    centred: bool = True

    def narrowed(self, divisor: int) -> DenseSpec:
        """The same layers with 1/divisor of the units, at least one."""
        return replace(self, units=_divided(self.units, divisor))


def _divided(sizes: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    return tuple(max(1, size // divisor) for size in sizes)


OWN_DENSE = DenseSpec((256, 256), nn.SiLU)
LINEAR = DenseSpec(())  # principal components, where the output activation is the identity


def _doubling(start: int, count: int) -> tuple[tuple[int, int], ...]:
    return tuple((start * 2**k, start * 2**k) for k in range(1, count + 1))


_DSPRITES = ConvolutionalSpec((32, 32, 64, 64), (64, 4, 4), (64, 32, 32), _doubling(4, 4), batch_norm=False)
_CIFAR10 = ConvolutionalSpec((128, 256, 512, 1024), (1024, 8, 8), (512, 256), (*_doubling(8, 2), (32, 32)), last_stride=1)

# name → (input shape, specification); supp. Table 4: mnist, celeba, cifar10 (also ImageNet 32×32); supp. Table 5: dsprites, shapes3d
PAPER_NETWORKS: dict[str, tuple[tuple[int, int, int], ConvolutionalSpec]] = {
    "paper-mnist": ((1, 32, 32), ConvolutionalSpec((64, 128, 256, 512), (512, 2, 2), (256, 128, 64), _doubling(2, 4))),
    "paper-celeba": (
        (3, 64, 64),
        ConvolutionalSpec((64, 128, 256, 512), (512, 8, 8), (256, 128, 64), (*_doubling(8, 3), (64, 64)), last_stride=1),
    ),
    "paper-cifar10": ((3, 32, 32), _CIFAR10),
    "paper-imagenet32": ((3, 32, 32), _CIFAR10),
    "paper-dsprites": ((1, 64, 64), _DSPRITES),
    "paper-shapes3d": ((3, 64, 64), _DSPRITES),
}


def halved(size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """An image's size (H, W), and its halves rounded down while the shorter side is at least 8 pixels."""
    sizes = [size]
    while min(sizes[-1]) >= SMALL_SIDE:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return tuple(sizes)


def default_convolutional(shape: tuple[int, ...]) -> ConvolutionalSpec:
    """A small network for images of any size from 8 pixels: stride-2 stages while the shorter side is at least 8, then dense layers.

    Odd sizes are halved downwards and restored exactly on the way up.
    """
    sizes = halved((shape[1], shape[2]))
    channels = tuple(32 if stage < 2 else 64 for stage in range(len(sizes) - 1))
    return ConvolutionalSpec(
        encoder=channels,
        start=(channels[-1], *sizes[-1]),
        decoder=channels[-2::-1],
        sizes=sizes[-2::-1],
        dense=256,
        batch_norm=False,
        activation=nn.SiLU,
        initialise=None,
    )
