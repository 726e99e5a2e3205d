"""The networks of methods that ARD-VAE is compared with, for its Tables 4 and 5 and for disentanglement.

`maskaae` (Mondal et al., github.com/arnabkmondal/MaskAAE, MaskAAE_MNIST.py): encoder and decoder are four dense layers of 1024 units with
ReLU and a linear one; pixels go in as they are, in [0, 1]. Weights are Glorot normal; no initialiser is given for biases, so TensorFlow's
default holds, which is not zero. There L is 48 and the encoder deterministic; a stochastic one has 2L outputs here. The script is for
28×28 pixels only, and a sigmoid ends it; other sizes, vectors and other output activations are ardtool's extension.

`locatello` (Locatello et al., github.com/google-research/disentanglement_lib, methods/shared/architectures.py, conv_encoder and
deconv_decoder): for 64×64 pixels in [0, 1], which go in as they are. "Same" padding of TensorFlow is one pixel on each side for kernel 4,
none for kernel 2. TensorFlow's default initialisation. There means and log variances are two layers; here they are one, so that its
uniform draws are narrower by √((256 + L) / (256 + 2L)), 2 % at L = 10.

`geco` (De Boom et al., arXiv 2003.10901): that it is convolutional, and that its decoder enlarges with upsampling layers that are not
trained, is known (ARD-VAE paper, §4, on Table 5). All else is inferred, because it is not published: stride-2 4×4 convolutions with 32, 64,
128, 256 channels and ReLU, as many as halve the shorter side to less than 8 pixels and at most 256 channels; one dense layer on each side
of the code, without activation; repetition of the nearest pixel and a 3×3 convolution with ReLU for each stage back, and a 3×3 convolution
to the image; no BatchNorm; torch's own initialisation; inputs as 2x − 1.
"""

from __future__ import annotations

from .initialise import glorot_normal, glorot_uniform
from .specs import ConvolutionalSpec, DenseSpec, halved

__all__ = ["LOCATELLO", "MASKAAE", "geco"]

MASKAAE = DenseSpec((1024,) * 4, initialise=glorot_normal, centred=False)
LOCATELLO = ConvolutionalSpec(
    encoder=(32, 32, 64, 64),
    kernels=(4, 4, 2, 2),
    dense=256,
    start=(64, 4, 4),
    decoder=(64, 32, 32),
    sizes=((8, 8), (16, 16), (32, 32), (64, 64)),
    batch_norm=False,
    initialise=glorot_uniform,
    centred=False,
)


def geco(shape: tuple[int, ...]) -> ConvolutionalSpec:
    """A reading of De Boom et al.'s network for images (C, H, W) of any size from 8 pixels; odd sizes are restored exactly."""
    sizes = halved((shape[1], shape[2]))
    channels = tuple(min(32 * 2**stage, 256) for stage in range(len(sizes) - 1))
    return ConvolutionalSpec(
        encoder=channels,
        start=(channels[-1], *sizes[-1]),
        decoder=(*channels[-2::-1], channels[0]),
        sizes=(*sizes[-2::-1], sizes[0]),
        last_stride=1,
        enlarging="nearest",
        batch_norm=False,
        initialise=None,
    )
