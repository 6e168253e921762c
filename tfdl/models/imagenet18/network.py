"""The architecture of a ResNet."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors

BLOCKS = ("basic", "bottleneck")
STEMS = ("plain", "deep")

# Block kind and blocks per stage (He et al. 2015, table 1).
DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
RESNET_D = {"stem": "deep", "avg_down": True}
PRESETS = {
    **{f"resnet{depth}": {} for depth in DEPTHS},
    **{f"resnet{depth}d": RESNET_D for depth in DEPTHS},
}
# A strided convolution with fewer inputs is not blurred: the stem's (ffcv-imagenet).
BLUR_MIN_INPUTS = 16
MAX_WIDTH = 1 << 16
MAX_BLOCKS = 512


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Sizes and choices of a ResNet.

    Attributes:
        block: "basic" (two 3x3) or "bottleneck" (1x1, 3x3, 1x1).
        blocks: blocks of each stage.
        widths: inner width of each stage.
        expansion: outer width of a stage over its inner width; 4 in published
            bottlenecks, 1 in basic blocks.
        stem_width: outputs of the stem.
        stem: "plain" (7x7) or "deep" (three 3x3, ResNet-D).
        deep_stem_width: outputs of the deep stem's first two convolutions.
        num_classes: outputs of the classifier.
        stride_in_1x1: a bottleneck halves the picture in its first 1x1 convolution
            (v1) instead of the 3x3 (v1.5).
        first_stage_stride: stride of the first stage; 1 in published networks.
        always_project: a stage's first block has a projection shortcut even where
            shapes do not change.
        avg_down: shortcuts average before a 1x1 without stride (ResNet-D).
        blur: strided convolutions with 16 inputs or more see a blurred picture
            (Zhang 2019; as in ffcv-imagenet).
        conv_bias: convolutions have biases (keras.applications).
        epsilon: of batch normalisation.
        momentum: part of the moving statistics that stays in each step.
        unbiased_moving_variance: moving variances follow the batch's n/(n-1)
            variance, as in torch; normalisation always uses the biased one.
        synchronised: batch statistics are those of the global batch.
        zero_gamma: the last normalisation of every block starts at 0 and the
            classifier from N(0, 0.01) (the recipe's initialisation).
    """

    block: str = "bottleneck"
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    expansion: int = 4
    stem_width: int = 64
    stem: str = "plain"
    deep_stem_width: int = 32
    num_classes: int = 1000
    stride_in_1x1: bool = False
    first_stage_stride: int = 1
    always_project: bool = False
    avg_down: bool = False
    blur: bool = False
    conv_bias: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    unbiased_moving_variance: bool = True
    synchronised: bool = False
    zero_gamma: bool = True

    def __post_init__(self):
        for name in ("blocks", "widths"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not value:
                raise errors.UserError(f"ResNet's {name} has to be a list, {value!r}")
            object.__setattr__(self, name, tuple(value))
        if len(self.blocks) != len(self.widths) or len(self.blocks) > 8:
            raise errors.UserError(
                f"ResNet: {len(self.blocks)} entries in blocks, {len(self.widths)} in "
                "widths; one per stage is needed, at most 8"
            )
        sizes = {
            "expansion": self.expansion,
            "stem_width": self.stem_width,
            "deep_stem_width": self.deep_stem_width,
            "num_classes": self.num_classes,
            **{f"widths[{i}]": width for i, width in enumerate(self.widths)},
        }
        for name, value in sizes.items():
            _check_integer(name, value, MAX_WIDTH)
        for i, value in enumerate(self.blocks):
            _check_integer(f"blocks[{i}]", value, MAX_BLOCKS)
        _check_integer("first_stage_stride", self.first_stage_stride, 2)
        if self.block not in BLOCKS:
            raise errors.unknown("ResNet block", self.block, BLOCKS)
        if self.stem not in STEMS:
            raise errors.unknown("ResNet stem", self.stem, STEMS)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool and type(value) is not bool:
                raise errors.UserError(
                    f"ResNet's {field.name} has to be true or false, got {value!r}"
                )
            if field.type is float and not (
                type(value) in (int, float) and 0 <= value < 1
            ):
                raise errors.UserError(
                    f"ResNet's {field.name} has to be a number in [0, 1), got {value!r}"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ResNetConfig":
        """Returns the configuration in a dict; a `preset` in it comes first.

        With a preset, `width` may be given as well: see `preset`.

        Raises:
            UserError: an unknown field, or a value that makes no sense.
        """
        values = dict(values)
        preset = values.pop("preset", None)
        known = [field.name for field in dataclasses.fields(cls)]
        known += ["width"] if preset else []
        for key in values:
            if key not in known:
                raise errors.unknown("field of the ResNet", key, [*known, "preset"])
        return cls.preset(preset, **values) if preset else cls(**values)

    @classmethod
    def preset(cls, name: str, width: int = 64, **changes: Any) -> "ResNetConfig":
        """Returns resnet18, 34, 50, 101, 152 or one of their D variants.

        Args:
            name: the preset.
            width: w; the stages' inner widths are w, 2w, 4w, 8w.
            **changes: fields to set otherwise.
        """
        if name not in PRESETS:
            raise errors.unknown("ResNet", name, PRESETS)
        depth = int(name.removeprefix("resnet").removesuffix("d"))
        block, blocks = DEPTHS[depth]
        values = {
            "block": block,
            "blocks": blocks,
            "widths": tuple(width * 2**i for i in range(4)),
            "expansion": 4 if block == "bottleneck" else 1,
            "stem_width": width,
            "deep_stem_width": max(1, width // 2),
            **PRESETS[name],
            **changes,
        }
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict that JSON can hold."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def name(self) -> str:
        """Returns the preset that this network is, or "custom"."""
        shape = ("block", "blocks", "widths", "expansion", "stem_width", "stem")
        shape += ("avg_down", "first_stage_stride")
        for name in PRESETS:
            preset = ResNetConfig.preset(name)
            if all(getattr(self, f) == getattr(preset, f) for f in shape):
                return name
        return "custom"

    @property
    def num_features(self) -> int:
        """Channels after the last stage."""
        return self.widths[-1] * self.expansion

    def num_parameters(self) -> int:
        """Returns the trained weights of the whole network."""
        return sum(conv.weights(self.conv_bias) for conv in self.convolutions()) + (
            (self.num_features + 1) * self.num_classes
        )

    def multiply_adds(self, height: int, width: int | None = None) -> int:
        """Returns the multiplications of one forward pass on one picture."""
        width = width or height
        total = self.num_features * self.num_classes
        for conv in self.convolutions():
            area = _reduced(height, conv.scale) * _reduced(width, conv.scale)
            total += area * conv.size**2 * conv.inputs * conv.outputs
        return total

    def convolutions(self) -> list["ConvolutionShape"]:
        """Returns every convolution of the network, in order."""
        shape = ConvolutionShape
        if self.stem == "plain":
            found = [shape(7, 3, self.stem_width, 1)]
        else:
            deep = self.deep_stem_width
            found = [
                shape(3, 3, deep, 1),
                shape(3, deep, deep, 1),
                shape(3, deep, self.stem_width, 1),
            ]
        inputs, scale = self.stem_width, 2
        for stage, blocks in enumerate(self.blocks):
            inner, outer = self.widths[stage], self.widths[stage] * self.expansion
            for i in range(blocks):
                before = scale
                scale += i == 0 and self.stage_stride(stage) == 2
                if self.block == "basic":
                    found += [
                        shape(3, inputs, inner, scale),
                        shape(3, inner, outer, scale),
                    ]
                else:
                    first = scale if self.stride_in_1x1 else before
                    found += [
                        shape(1, inputs, inner, first),
                        shape(3, inner, inner, scale),
                        shape(1, inner, outer, scale),
                    ]
                if self.projects(stage, i):
                    found.append(shape(1, inputs, outer, scale))
                inputs = outer
        return found

    def stage_stride(self, stage: int) -> int:
        """Returns the stride of a stage's first block."""
        return self.first_stage_stride if stage == 0 else 2

    def projects(self, stage: int, block: int) -> bool:
        """Tells whether a block's shortcut is a projection."""
        if block:
            return False
        outer = self.widths[stage] * self.expansion
        inputs = self.stem_width
        if stage:
            inputs = self.widths[stage - 1] * self.expansion
        return self.always_project or self.stage_stride(stage) != 1 or inputs != outer


@dataclasses.dataclass(frozen=True)
class ConvolutionShape:
    """A convolution: kernel size, channels, and how often its output was halved."""

    size: int
    inputs: int
    outputs: int
    scale: int

    def weights(self, bias: bool) -> int:
        """Returns its trained weights, those of its normalisation included."""
        return self.size**2 * self.inputs * self.outputs + (2 + bias) * self.outputs


def _reduced(size: int, times: int) -> int:
    for _ in range(times):
        size = (size - 1) // 2 + 1
    return size


def _check_integer(name: str, value: Any, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise errors.UserError(
            f"ResNet's {name} has to be a whole number in [1, {most}], got {value!r}"
        )
