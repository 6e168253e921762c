"""A ResNet's variables by torchvision's names."""

import keras

from tfdl.models.imagenet18.blocks import ConvNorm
from tfdl.models.imagenet18.model import ResNet
from tfdl.models.imagenet18.network import ResNetConfig


def variable_names(
    model: ResNet, statistics: bool = False
) -> dict[str, keras.Variable]:
    """Returns the trained weights by name, in torchvision's order.

    Args:
        model: a built network; kernels keep our shapes, [h, w, in, out].
        statistics: the moving means and variances are there as well.
    """
    return {
        name: variable
        for prefixes, unit in named_units(model)
        for name, variable in _unit(prefixes, unit, statistics)
    } | {"fc.weight": model.fc.kernel, "fc.bias": model.fc.bias}


def named_units(model: ResNet) -> list[tuple[tuple[str, str], ConvNorm]]:
    """Returns ((convolution's name, normalisation's name), unit), in order."""
    if model.config.stem == "plain":
        found = [(("conv1", "bn1"), model.stem[0])]
    else:
        places = [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")]
        found = list(zip(places, model.stem, strict=True))
    # ResNet-D has an average in front, in the first stage an empty one.
    first = 1 if model.config.avg_down else 0
    for stage, blocks in enumerate(model.stages, 1):
        for i, block in enumerate(blocks):
            prefix = f"layer{stage}.{i}"
            for k, unit in enumerate(block.units, 1):
                found.append(((f"{prefix}.conv{k}", f"{prefix}.bn{k}"), unit))
            if block.projection is not None:
                down = f"{prefix}.downsample"
                pair = (f"{down}.{first}", f"{down}.{first + 1}")
                found.append((pair, block.projection))
    return found


def normalisation_patterns(config: ResNetConfig) -> tuple[str, ...]:
    """Returns regular expressions that find all gammas and betas, and these alone.

    The recipe decays everything else, the classifier's bias included.
    """
    last = 2 if config.avg_down else 1
    return (
        r"(^|\.)bn\d+\.",
        r"^conv1\.[14]\.",
        rf"\.downsample\.{last}\.",
    )


def _unit(prefixes, unit, statistics):
    conv, norm = prefixes
    yield f"{conv}.weight", unit.conv.kernel
    if unit.conv.bias is not None:
        yield f"{conv}.bias", unit.conv.bias
    if unit.norm is None:
        return
    yield f"{norm}.weight", unit.norm.gamma
    yield f"{norm}.bias", unit.norm.beta
    if statistics:
        yield f"{norm}.running_mean", unit.norm.moving_mean
        yield f"{norm}.running_var", unit.norm.moving_variance
