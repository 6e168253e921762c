"""The architectures of a StyleGAN's two networks.

Fields have the names of the original's arguments, so that a recipe or a converted
file reads like it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors
from tfdl.engine.errors import UserError

NONLINEARITIES = ("lrelu", "relu")
# 'auto' fuses where the larger side of the resampling has so many pixels.
FUSED_FROM = 128
MAX_RESOLUTION = 4096
MAX_WIDTH = 1 << 16


class _Shared:
    """What both networks' configurations can tell."""

    @property
    def levels(self) -> int:
        """R, the base-2 logarithm of the resolution."""
        return self.resolution.bit_length() - 1

    def features(self, stage: int) -> int:
        """Returns nf(stage); the feature count at 2^r pixels is nf(r - 1)."""
        return min(
            int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max
        )

    def fuses(self, size: int) -> bool:
        """Tells whether the original fuses resampling to (or from) `size` pixels."""
        if self.fused_scale == "auto":
            return size >= FUSED_FROM
        return bool(self.fused_scale)

    def stage_of(self, lod: float) -> int:
        """Returns how many of the largest resolutions are out of use at a lod."""
        return min(max(math.floor(lod), 0), self.levels - 2)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]):
        """Returns the configuration with these fields, others at their defaults.

        Raises:
            UserError: an unknown field, or a value that cannot be.
        """
        allowed = {field.name for field in dataclasses.fields(cls)}
        for name in fields:
            if name not in allowed:
                raise errors.unknown(f"field of {cls.__name__}", name, allowed)
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field."""
        return dataclasses.asdict(self)

    def _check(self, integers: Mapping[str, tuple[int, int]]) -> None:
        for name, (low, high) in integers.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise UserError(
                    f"{name} has to be a whole number in [{low}, {high}], got {value!r}"
                )
        if self.resolution & (self.resolution - 1):
            raise UserError(
                f"resolution has to be a power of two, got {self.resolution}"
            )
        if self.fused_scale not in (True, False, "auto"):
            raise errors.unknown(
                "fused_scale", self.fused_scale, ("True", "False", "auto")
            )
        if self.nonlinearity not in NONLINEARITIES:
            raise errors.unknown("nonlinearity", self.nonlinearity, NONLINEARITIES)
        for name in ("fmap_base", "fmap_decay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{name} has to be a number, got {value!r}")
            if not 0 <= value < 1e9:
                raise UserError(f"{name} has to be in [0, 1e9), got {value!r}")
        if self.features(self.levels) < 1 or self.features(0) < 1:
            raise UserError(
                f"fmap_base {self.fmap_base} leaves no channel at {self.resolution}"
            )

    def _check_switches(self, *names: str) -> None:
        for name in names:
            if not isinstance(getattr(self, name), bool):
                raise UserError(
                    f"{name} has to be True or False, got {getattr(self, name)!r}"
                )


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(_Shared):
    """Mapping, synthesis and what is around them.

    Attributes:
        resolution: side of the pictures, a power of two.
        num_channels: 3, or 1 for grey pictures.
        label_size: classes; 0 without labels.
        fmap_base, fmap_decay, fmap_max: feature counts, see `features`.
        latent_size: dimensions of z.
        dlatent_size: dimensions of w.
        mapping_layers: dense layers of the mapping; 0 hands z on as w.
        mapping_fmaps: their width; the last one's is `dlatent_size`.
        mapping_lrmul: the mapping's share of the learning rate.
        mapping_nonlinearity: "lrelu" or "relu".
        normalize_latents: z (with the label's embedding) is scaled to length
            sqrt(its size).
        use_styles: w modulates every layer (AdaIN); without, only layer 0 sees it.
        use_noise: noise is added in every layer.
        use_wscale: equalised learning rate (Karras et al. 2017).
        use_pixel_norm, use_instance_norm: normalisation after the activation.
        const_input_layer: starts from a learned constant instead of a dense layer.
        nonlinearity: "lrelu" or "relu".
        fused_scale: which upsampling convolutions are the original's transposed
            ones, which see their kernels mirrored: True, False or "auto" (from 128
            pixels on).
        truncation_psi, truncation_cutoff: the default truncation; None for none.
        truncation_psi_val, truncation_cutoff_val: the same for validation.
        dlatent_avg_beta: decay of the average w.
        style_mixing_prob: probability of style mixing in training.
    """

    resolution: int = 1024
    num_channels: int = 3
    label_size: int = 0
    fmap_base: int | float = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    latent_size: int = 512
    dlatent_size: int = 512
    mapping_layers: int = 8
    mapping_fmaps: int = 512
    mapping_lrmul: float = 0.01
    mapping_nonlinearity: str = "lrelu"
    normalize_latents: bool = True
    use_styles: bool = True
    use_noise: bool = True
    use_wscale: bool = True
    use_pixel_norm: bool = False
    use_instance_norm: bool = True
    const_input_layer: bool = True
    nonlinearity: str = "lrelu"
    fused_scale: bool | str = "auto"
    truncation_psi: float | None = 0.7
    truncation_cutoff: int | None = 8
    truncation_psi_val: float | None = None
    truncation_cutoff_val: int | None = None
    dlatent_avg_beta: float | None = 0.995
    style_mixing_prob: float | None = 0.9

    def __post_init__(self):
        self._check(
            {
                "resolution": (4, MAX_RESOLUTION),
                "num_channels": (1, 64),
                "label_size": (0, MAX_WIDTH),
                "fmap_max": (1, MAX_WIDTH),
                "latent_size": (1, MAX_WIDTH),
                "dlatent_size": (1, MAX_WIDTH),
                "mapping_layers": (0, 64),
                "mapping_fmaps": (1, MAX_WIDTH),
            }
        )
        self._check_switches(
            "normalize_latents",
            "use_styles",
            "use_noise",
            "use_wscale",
            "use_pixel_norm",
            "use_instance_norm",
            "const_input_layer",
        )
        if self.mapping_nonlinearity not in NONLINEARITIES:
            raise errors.unknown(
                "mapping_nonlinearity", self.mapping_nonlinearity, NONLINEARITIES
            )
        if not 0 < self.mapping_lrmul <= 100:
            raise UserError(
                f"mapping_lrmul has to be in (0, 100], got {self.mapping_lrmul!r}"
            )
        for name in ("style_mixing_prob", "dlatent_avg_beta"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"{name} has to be in [0, 1], got {value!r}")
        if not self.mapping_layers and self.dlatent_size != self.mapping_inputs:
            raise UserError(
                "without mapping layers w is z: dlatent_size has to be "
                f"{self.mapping_inputs}, got {self.dlatent_size}"
            )

    @property
    def num_layers(self) -> int:
        """L, the layers that have noise and style: 2 per resolution."""
        return 2 * self.levels - 2

    @property
    def num_styles(self) -> int:
        """How many w the mapping gives: one per layer, or one without styles."""
        return self.num_layers if self.use_styles else 1

    @property
    def mapping_inputs(self) -> int:
        """Dimensions that enter the mapping's first layer."""
        return self.latent_size * (2 if self.label_size else 1)

    @property
    def mapping_widths(self) -> list[int]:
        """Outputs of the mapping's layers."""
        inner = [self.mapping_fmaps] * (self.mapping_layers - 1)
        return [*inner, self.dlatent_size] if self.mapping_layers else []

    def layer_features(self, layer: int) -> int:
        """Returns the channels of synthesis layer `layer`."""
        return self.features(layer // 2 + 1)

    def layer_size(self, layer: int) -> int:
        """Returns the side of synthesis layer `layer`."""
        return 1 << (layer // 2 + 2)

    def num_parameters(self) -> int:
        """Returns the number of trained weights."""
        total, inputs = self.label_size * self.latent_size, self.mapping_inputs
        for width in self.mapping_widths:
            total, inputs = total + (inputs + 1) * width, width
        first = self.features(1)
        if self.const_input_layer:
            total += 16 * first
        else:
            total += 16 * first * self.dlatent_size
        channels = first
        for layer in range(self.num_layers):
            width = self.layer_features(layer)
            if layer:
                total += 9 * channels * width
            total += width * (1 + self.use_noise)
            if self.use_styles:
                total += (self.dlatent_size + 1) * 2 * width
            if layer % 2:
                total += (width + 1) * self.num_channels
            channels = width
        return total


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(_Shared):
    """The discriminator.

    Attributes:
        resolution, num_channels, label_size, fmap_base, fmap_decay, fmap_max,
            use_wscale, nonlinearity: as in `GeneratorConfig`.
        fused_scale: kept for the original's files; both ways compute the same.
        mbstd_group_size: pictures whose standard deviation is one more feature; 0
            or 1 for none.
        mbstd_num_features: how many such features.
    """

    resolution: int = 1024
    num_channels: int = 3
    label_size: int = 0
    fmap_base: int | float = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    use_wscale: bool = True
    nonlinearity: str = "lrelu"
    fused_scale: bool | str = "auto"
    mbstd_group_size: int = 4
    mbstd_num_features: int = 1

    def __post_init__(self):
        self._check(
            {
                "resolution": (4, MAX_RESOLUTION),
                "num_channels": (1, 64),
                "label_size": (0, MAX_WIDTH),
                "fmap_max": (1, MAX_WIDTH),
                "mbstd_group_size": (0, 4096),
                "mbstd_num_features": (1, MAX_WIDTH),
            }
        )
        self._check_switches("use_wscale")
        if self.has_deviation and self.features(1) % self.mbstd_num_features:
            raise UserError(
                f"mbstd_num_features has to divide {self.features(1)}, got "
                f"{self.mbstd_num_features}"
            )

    @property
    def has_deviation(self) -> bool:
        """Whether the minibatch's standard deviation is a feature."""
        return self.mbstd_group_size > 1

    @property
    def outputs(self) -> int:
        """Scores of the last layer, of which a label chooses one."""
        return max(self.label_size, 1)

    def num_parameters(self) -> int:
        """Returns the number of trained weights."""
        total = 0
        for r in range(self.levels, 1, -1):
            width, below = self.features(r - 1), self.features(r - 2)
            total += (self.num_channels + 1) * width
            if r > 2:
                total += (9 * width + 1) * width + (9 * width + 1) * below
        first = self.features(1)
        extra = self.mbstd_num_features if self.has_deviation else 0
        total += (9 * (first + extra) + 1) * first
        total += (16 * first + 1) * self.features(0)
        return total + (self.features(0) + 1) * self.outputs
