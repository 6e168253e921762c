"""The architectures: channel plans, presets, and what every field means."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfdl.engine import errors
from tfdl.engine.options import number
from tfdl.models.biggan import presets

KINDS = ("biggan", "deep")
INITIALISATIONS = ("ortho", "N02", "xavier")
VARIANCES = ("unbiased", "biased")
STATISTICS = ("running", "table")
INTERPOLATIONS = ("linear", "hf")
EVALUATIONS = ("iterate", "stored")
MAX_CHANNELS = 1 << 17
MAX_BLOCKS = 64
# Blocks per resolution of BigGAN-deep, and outer over inner channels of its blocks.
DEPTH = 2
RATIO = 4


@dataclasses.dataclass(frozen=True)
class Spectral:
    """How weights are divided by their largest singular value.

    Attributes:
        epsilon: a vector is divided by `max(norm, epsilon)`.
        iterations: power iterations of a forward pass in training.
        values: how many singular values are followed; only the first divides.
        evaluation: outside training, "iterate" makes one iteration from the stored
            vector without storing it, "stored" takes both stored vectors as they are.
    """

    epsilon: float = 1e-6
    iterations: int = 1
    values: int = 1
    evaluation: str = "iterate"


@dataclasses.dataclass(frozen=True)
class _Network:
    """What both networks have; see the subclasses."""

    kind: str = "biggan"
    blocks: tuple[tuple[int, int, bool], ...] = ()
    attention: tuple[int, ...] = ()
    num_classes: int = 1000
    image_channels: int = 3
    spectral_norm: bool = True
    spectral_epsilon: float = 1e-6
    spectral_iterations: int = 1
    singular_values: int = 1
    spectral_evaluation: str = "iterate"
    initialisation: str = "ortho"
    remat: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise errors.unknown("kind of BigGAN", self.kind, KINDS)
        object.__setattr__(self, "blocks", self._checked_blocks())
        attention = tuple(self.attention)
        for i in attention:
            if type(i) is not int or not -1 <= i < len(self.blocks):
                raise errors.UserError(
                    f"BigGAN: attention after block {i!r}, there are "
                    f"{len(self.blocks)} blocks"
                )
        object.__setattr__(self, "attention", attention)
        for field in dataclasses.fields(self):
            self._check_field(field.name, field.type, getattr(self, field.name))
        _check_choice("initialisation", self.initialisation, INITIALISATIONS)
        _check_choice("spectral_evaluation", self.spectral_evaluation, EVALUATIONS)
        for name in ("num_classes", "image_channels", "spectral_iterations"):
            _check_size(name, getattr(self, name))
        _check_size("singular_values", self.singular_values, 64)

    def _checked_blocks(self):
        blocks = self.blocks
        if not isinstance(blocks, Sequence) or not 1 <= len(blocks) <= MAX_BLOCKS:
            raise errors.UserError(
                f"BigGAN: blocks has to list 1 to {MAX_BLOCKS} blocks, got {blocks!r}"
            )
        for block in blocks:
            if (
                not isinstance(block, Sequence)
                or len(block) != 3
                or type(block[2]) is not bool
            ):
                raise errors.UserError(
                    f"BigGAN: a block is [inputs, outputs, resampled], got {block!r}"
                )
            for size in block[:2]:
                _check_size("blocks", size)
        return tuple((a, b, c) for a, b, c in blocks)

    def _check_field(self, name: str, kind: Any, value: Any) -> None:
        if kind is bool and type(value) is not bool:
            raise errors.UserError(
                f"BigGAN's {name} has to be true or false, got {value!r}"
            )
        if kind is float:
            object.__setattr__(self, name, number(f"BigGAN's {name}", value, below=1.0))

    @property
    def spectral(self) -> Spectral | None:
        """How weights are normalised, None without."""
        if not self.spectral_norm:
            return None
        return Spectral(
            self.spectral_epsilon,
            self.spectral_iterations,
            self.singular_values,
            self.spectral_evaluation,
        )

    @property
    def scale(self) -> int:
        """How many times larger pictures are than the smallest map."""
        return 2 ** sum(resampled for _, _, resampled in self.blocks)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]):
        """Returns the configuration in a dict; a `preset` in it comes first.

        With a preset, `channels` (the width) may be given as well.

        Raises:
            UserError: an unknown field, or a value that makes no sense.
        """
        values = dict(values)
        preset = values.pop("preset", None)
        known = [field.name for field in dataclasses.fields(cls)]
        known += ["channels"] if preset else []
        for key in values:
            if key not in known:
                raise errors.unknown("field of BigGAN", key, [*known, "preset"])
        return cls.preset(preset, **values) if preset else cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict that JSON can hold."""
        result = dataclasses.asdict(self)
        result["blocks"] = [list(block) for block in self.blocks]
        result["attention"] = list(self.attention)
        return result


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(_Network):
    """Sizes and choices of a generator.

    Attributes:
        kind: "biggan", or "deep" with bottleneck blocks.
        blocks: (inputs, outputs, whether it doubles the size) of each block.
        attention: indices of the blocks that attention follows; -1 is before all.
        num_classes: classes.
        image_channels: of the pictures.
        dim_z: size of the latent vector.
        shared_dim: size of the class embedding that all blocks share; 0: every
            normalisation has tables of its own.
        hierarchical: every block gets a part of z. Deep ones always get all of it.
        bottom_width: size of the smallest map.
        rgb_filters: filters of the last convolution, of which the first
            `image_channels` are kept; 0: no more than those.
        batch_norm_epsilon: of the blocks' normalisation.
        output_norm_epsilon: of the last one.
        momentum: part of the running statistics that stays in each step.
        running_variance: "unbiased" (n / (n - 1), torch) or "biased".
        statistics: "running", or "table": a row per truncation, never trained.
        num_statistics: rows of that table, for truncations 0 to 1.
        interpolation: between rows: "linear", or "hf" as pytorch-pretrained-biggan
            does it (weights the other way round).
        synchronised: batch statistics are those of the global batch.
        spectral_norm, spectral_epsilon, spectral_iterations, singular_values,
            spectral_evaluation: see `Spectral`.
        initialisation: of kernels and tables: "ortho", "N02" or "xavier".
        remat: blocks are computed a second time for the gradient.
    """

    dim_z: int = 120
    shared_dim: int = 128
    hierarchical: bool = True
    bottom_width: int = 4
    rgb_filters: int = 0
    batch_norm_epsilon: float = 1e-5
    output_norm_epsilon: float = 1e-5
    momentum: float = 0.9
    running_variance: str = "unbiased"
    statistics: str = "running"
    num_statistics: int = 51
    interpolation: str = "linear"
    synchronised: bool = True

    def __post_init__(self):
        super().__post_init__()
        for name in ("dim_z", "bottom_width", "num_statistics"):
            _check_size(name, getattr(self, name))
        for name in ("shared_dim", "rgb_filters"):
            _check_size(name, getattr(self, name), low=0)
        _check_choice("running_variance", self.running_variance, VARIANCES)
        _check_choice("statistics", self.statistics, STATISTICS)
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        if self.rgb_filters and self.rgb_filters < self.image_channels:
            raise errors.UserError(
                f"BigGAN: {self.rgb_filters} rgb_filters for {self.image_channels} "
                "image_channels"
            )
        if self.statistics == "table" and self.num_statistics < 2:
            raise errors.UserError("BigGAN: a table of statistics needs 2 rows or more")
        if self.kind == "deep" and not (self.shared_dim and self.hierarchical):
            raise errors.UserError(
                "BigGAN-deep needs hierarchical=true and a shared_dim above 0"
            )
        if self.hierarchical and not self.shared_dim:
            raise errors.UserError("BigGAN: hierarchical needs a shared_dim above 0")
        if self.dim_z % self.slots:
            raise errors.UserError(
                f"BigGAN: dim_z {self.dim_z} is not divided by its {self.slots} parts; "
                f"{self.dim_z // self.slots * self.slots} would be"
            )
        _check_chain(self.blocks)

    @property
    def slots(self) -> int:
        """Parts that z is split into."""
        split = self.kind == "biggan" and self.hierarchical
        return len(self.blocks) + 1 if split else 1

    @property
    def chunk(self) -> int:
        """Numbers of z in the first linear layer."""
        return self.dim_z // self.slots

    @property
    def condition_dim(self) -> int:
        """Inputs of every conditional normalisation; 0 with tables."""
        if not self.shared_dim:
            return 0
        return self.shared_dim + (self.chunk if self.hierarchical else 0)

    @property
    def first_inputs(self) -> int:
        """Inputs of the first linear layer."""
        return self.condition_dim if self.kind == "deep" else self.chunk

    @property
    def resolution(self) -> int:
        """Height and width of the pictures."""
        return self.bottom_width * self.scale

    @property
    def last_filters(self) -> int:
        """Filters of the last convolution."""
        return self.rgb_filters or self.image_channels

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "GeneratorConfig":
        """Returns the generator of a preset.

        Args:
            name: one of `presets.PRESETS`.
            **changes: fields to set otherwise; `channels` is the width, `attention`
                may be a text of output sizes such as "32_64" ("0" for none), and a
                hierarchical `dim_z` is cut to a multiple of its parts.
        """
        values = {**presets.find(name)["generator"], **changes}
        kind, channels = values.get("kind", "biggan"), values.pop("channels")
        size = values.pop("resolution")
        inputs, outputs = presets.GENERATOR[size]
        blocks, sizes = [], []
        for stage, (a, b) in enumerate(zip(inputs, outputs, strict=True)):
            if kind == "deep":
                blocks += [(a, a, False)] * (DEPTH - 1)
                sizes += [0] * (DEPTH - 1)
            blocks.append((a, b, True))
            sizes.append(8 << stage)
        blocks = tuple((a * channels, b * channels, up) for a, b, up in blocks)
        values.setdefault("blocks", blocks)
        values["attention"] = _places(values.get("attention", ()), sizes)
        if kind == "biggan" and values.get("hierarchical", True):
            slots = len(values["blocks"]) + 1
            values["dim_z"] = values["dim_z"] // slots * slots
        return cls(**values)

    def num_parameters(self) -> int:
        """Returns the trained weights."""
        total = self.num_classes * self.shared_dim
        first = self.blocks[0][0] * self.bottom_width**2
        total += (self.first_inputs + 1) * first
        condition = self.condition_dim or self.num_classes
        for inputs, outputs, _ in self.blocks:
            sizes = [(3, inputs, outputs), (3, outputs, outputs), (1, inputs, outputs)]
            norms = [inputs, outputs]
            if self.kind == "deep":
                hidden = inputs // RATIO
                sizes = [(1, inputs, hidden), (1, hidden, outputs)]
                sizes += [(3, hidden, hidden)] * 2
                norms = [inputs] + [hidden] * 3
            total += sum(k * k * a * b + b for k, a, b in sizes)
            total += 2 * condition * sum(norms)
        total += sum(attention_weights(c) for c in self.attention_channels())
        last = self.blocks[-1][1]
        return total + 2 * last + (9 * last + 1) * self.last_filters

    def attention_channels(self) -> Iterator[int]:
        """Yields the channels of each attention layer."""
        for i in self.attention:
            yield self.blocks[0][0] if i < 0 else self.blocks[i][1]


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(_Network):
    """Sizes and choices of a discriminator.

    Attributes:
        kind: "biggan", or "deep" with bottleneck blocks behind a 3x3 convolution.
        blocks: (inputs, outputs, whether it halves the size) of each block.
        attention: indices of the blocks that attention follows.
        depth: blocks per stage, which only names them; 1 unless deep.
        num_classes: classes.
        image_channels: of the pictures.
        thin: a block's inner width is that of its inputs, not of its outputs.
        equal_width_shortcut: a block that halves the size without changing the width
            has a convolution in its shortcut (compare_gan's have none).
        projection: the class takes part in the output (Miyato & Koyama 2018).
        spectral_norm, spectral_epsilon, spectral_iterations, singular_values,
            spectral_evaluation: see `Spectral`.
        initialisation: of kernels and tables: "ortho", "N02" or "xavier".
        remat: blocks are computed a second time for the gradient.
    """

    depth: int = 1
    thin: bool = False
    equal_width_shortcut: bool = True
    projection: bool = True

    def __post_init__(self):
        super().__post_init__()
        _check_size("depth", self.depth, MAX_BLOCKS)
        _check_chain(self.blocks)
        if self.kind == "biggan" and self.blocks[0][0] != self.image_channels:
            raise errors.UserError(
                f"BigGAN: the discriminator's first block takes {self.blocks[0][0]} "
                f"channels, pictures have {self.image_channels}"
            )
        if self.kind == "deep" and any(a > b for a, b, _ in self.blocks):
            raise errors.UserError(
                "BigGAN-deep: a discriminator's blocks cannot become narrower"
            )

    def projects(self, index: int) -> bool:
        """Tells whether a block's shortcut has a convolution."""
        inputs, outputs, down = self.blocks[index]
        if inputs != outputs:
            return True
        return self.kind == "biggan" and down and self.equal_width_shortcut

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "DiscriminatorConfig":
        """Returns the discriminator of a preset; see `GeneratorConfig.preset`.

        Sizes in `attention` are those after a block as the original counts them: at
        32 pixels it says 16 for every block.
        """
        values = {**presets.find(name)["discriminator"], **changes}
        kind, channels = values.get("kind", "biggan"), values.pop("channels")
        size, pictures = values.pop("resolution"), values.get("image_channels", 3)
        widths = values.pop("widths", None)
        if kind == "deep":
            before, widths = presets.DEEP_DISCRIMINATOR[size]
            before *= channels
            values["depth"] = DEPTH
        else:
            before, widths = pictures, widths or presets.DISCRIMINATOR[size]
        blocks, sizes = [], []
        for stage, width in enumerate(widths):
            down = stage < 2 if size == 32 else 4 << stage < size
            after = width * channels
            blocks.append((before, after, down))
            if kind == "deep":
                blocks += [(after, after, False)] * (DEPTH - 1)
                sizes += [0] * (DEPTH - 1)
            sizes.append(16 if size == 32 else max(size >> (stage + 1), 4))
            before = after
        values.setdefault("blocks", tuple(blocks))
        values["attention"] = _places(values.get("attention", ()), sizes)
        return cls(**values)

    def hidden(self, index: int) -> int:
        """Returns a block's inner width."""
        inputs, outputs, _ = self.blocks[index]
        if self.kind == "deep":
            return outputs // RATIO
        return inputs if self.thin else outputs

    def num_parameters(self) -> int:
        """Returns the trained weights."""
        total = 0
        if self.kind == "deep":
            total += (9 * self.image_channels + 1) * self.blocks[0][0]
        for i, (inputs, outputs, _) in enumerate(self.blocks):
            hidden = self.hidden(i)
            sizes = [(3, inputs, hidden), (3, hidden, outputs)]
            if self.kind == "deep":
                sizes = [(1, inputs, hidden), (1, hidden, outputs)]
                sizes += [(3, hidden, hidden)] * 2
            if self.projects(i):
                wider = outputs - (inputs if self.kind == "deep" else 0)
                sizes.append((1, inputs, wider))
            total += sum(k * k * a * b + b for k, a, b in sizes)
        total += sum(attention_weights(self.blocks[i][1]) for i in self.attention)
        last = self.blocks[-1][1]
        return total + last + 1 + self.projection * self.num_classes * last


def attention_weights(channels: int) -> int:
    """Returns the trained weights of an attention layer."""
    return channels * (2 * (channels // 8) + 2 * (channels // 2)) + 1


def _places(attention: str | Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(attention, str):
        return tuple(attention)
    parts = attention.split("_")
    allowed = sorted({size for size in sizes if size})
    wanted = set()
    for part in parts:
        if part != "0" and part not in map(str, allowed):
            raise errors.unknown("size of attention", part, ["0", *allowed])
        wanted.add(int(part))
    return tuple(i for i, size in enumerate(sizes) if size and size in wanted)


def _check_chain(blocks: Sequence[tuple[int, int, bool]]) -> None:
    for (_, before, _), (after, _, _) in zip(blocks[:-1], blocks[1:], strict=True):
        if before != after:
            raise errors.UserError(
                f"BigGAN: a block that gives {before} channels before one that takes "
                f"{after}"
            )


def _check_size(name: str, value: Any, most: int = MAX_CHANNELS, low: int = 1) -> None:
    if type(value) is not int or not low <= value <= most:
        raise errors.UserError(
            f"BigGAN's {name} has to be a whole number in [{low}, {most}], got "
            f"{value!r}"
        )


def _check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise errors.unknown(f"{name} of BigGAN", value, allowed)
