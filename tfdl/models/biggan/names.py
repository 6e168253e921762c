"""The original's names (BigGAN-PyTorch) for layers and weights.

They are in the order of its `parameters()`. Layouts are ours: kernels
[height, width, in, out] and [in, out], tables [classes, width].
"""

from collections.abc import Iterator

import keras

from tfdl.models.biggan.attention import SelfAttention
from tfdl.models.biggan.conditional_norm import (
    BatchNorm,
    ConditionalNorm,
    OutputNorm,
)
from tfdl.models.biggan.discriminator import Discriminator
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.spectral import Convolution, Linear, SpectralNorm, Table

SHARED = "shared.weight"
_PARTS = ("conv1", "conv2", "conv3", "conv4", "conv_sc", "bn1", "bn2", "bn3", "bn4")


def layers_by_name(network: Generator | Discriminator) -> dict[str, keras.Layer]:
    """Returns every layer that has weights, by the name of its module."""
    parts = _generator if isinstance(network, Generator) else _discriminator
    found = {}
    for name, layer in parts(network):
        found[name] = layer
        if isinstance(layer, SelfAttention):
            for part in ("theta", "phi", "g", "o"):
                found[f"{name}.{part}"] = getattr(layer, part)
        elif isinstance(layer, ConditionalNorm):
            found[f"{name}.gain"], found[f"{name}.bias"] = layer.gain, layer.bias
    return found


def named_variables(
    network: Generator | Discriminator, trained_only: bool = False
) -> dict[str, keras.Variable]:
    """Returns a network's weights by name, those that are not trained included.

    `NAME.u` and `NAME.sv` hold every singular value that is followed, where the
    original has `u0`, `u1`, ...; `NAME.v` is there with stored vectors only.
    """
    found = {}
    for name, layer in layers_by_name(network).items():
        for part, variable in _weights(layer):
            if variable.trainable or not trained_only:
                found[f"{name}.{part}"] = variable
    return found


def trainable_names(network: Generator | Discriminator) -> dict[str, keras.Variable]:
    """Returns a network's trained weights by name."""
    return named_variables(network, trained_only=True)


def spectral_layers(network: Generator | Discriminator) -> dict[str, SpectralNorm]:
    """Returns every spectral normalisation by the name of its layer."""
    return {
        name: layer.norm
        for name, layer in layers_by_name(network).items()
        if isinstance(getattr(layer, "norm", None), SpectralNorm)
    }


def norm_layers(generator: Generator) -> dict[str, BatchNorm]:
    """Returns every batch normalisation by name, in forward order."""
    return {
        name: layer
        for name, layer in layers_by_name(generator).items()
        if isinstance(layer, BatchNorm)
    }


def _generator(network: Generator) -> Iterator[tuple[str, keras.Layer]]:
    if network.shared is not None:
        yield "shared", network.shared
    yield "linear", network.linear
    attention = dict(zip(network.config.attention, network.attention, strict=True))
    for i in range(-1, len(network.blocks)):
        if i >= 0:
            yield from _block(f"blocks.{i}.0", network.blocks[i])
        if i in attention:
            yield f"blocks.{i}.1", attention[i]
    yield "output_layer.0", network.output_norm
    yield "output_layer.2", network.to_rgb


def _discriminator(network: Discriminator) -> Iterator[tuple[str, keras.Layer]]:
    depth = network.config.depth
    if network.input_conv is not None:
        yield "input_conv", network.input_conv
    attention = dict(zip(network.config.attention, network.attention, strict=True))
    for i, block in enumerate(network.blocks):
        yield from _block(f"blocks.{i // depth}.{i % depth}", block)
        if i in attention:
            yield f"blocks.{i // depth}.{depth}", attention[i]
    yield "linear", network.linear
    if network.embed is not None:
        yield "embed", network.embed


def _block(name: str, block: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    for part in _PARTS:
        layer = getattr(block, part, None)
        if layer is not None:
            yield f"{name}.{part}", layer


def _weights(layer: keras.Layer) -> Iterator[tuple[str, keras.Variable]]:
    if isinstance(layer, Convolution | Linear):
        yield "weight", layer.kernel
        if layer.bias is not None:
            yield "bias", layer.bias
    elif isinstance(layer, Table):
        yield "weight", layer.table
    elif isinstance(layer, SelfAttention):
        yield "gamma", layer.gamma
    elif isinstance(layer, OutputNorm):
        yield "gain", layer.gain
        yield "bias", layer.bias
    if isinstance(layer, BatchNorm):
        yield "stored_mean", layer.moving_mean
        yield "stored_var", layer.moving_variance
    norm = getattr(layer, "norm", None)
    if isinstance(norm, SpectralNorm):
        yield "u", norm.u
        yield "sv", norm.sv
        if norm.v is not None:
            yield "v", norm.v
