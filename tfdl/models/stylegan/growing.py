"""Progressive growing: what is trained on after so many pictures.

The level of detail (lod) is 0 at full resolution and k at resolution / 2^k. It stands
still for `stable_kimg` thousand pictures and then falls by 1 over `transition_kimg`
(Karras et al. 2018, section 2; the batch sizes and rates of Karras et al. 2019).
"""

import dataclasses
import math
from collections.abc import Mapping

from tfdl.engine import errors
from tfdl.engine.options import number

MAX_RESOLUTION = 4096

# Pictures per step by resolution, for so many devices; under 0 that of all others.
BATCH_SIZES = {
    1: {0: 4, 4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
    2: {0: 8, 4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
    4: {0: 16, 4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
    8: {0: 32, 4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
}
RATES = {0: 0.001, 128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}
TICKS = {
    **{4: 160, 8: 140, 16: 120, 32: 100, 64: 80, 128: 60, 256: 40, 512: 30, 1024: 20},
    0: 20,
}


@dataclasses.dataclass(frozen=True)
class Values:
    """What the schedule says at one moment.

    Attributes:
        lod: the level of detail.
        resolution: of the pictures that are fed.
        batch_size: over all replicas.
        generator_rate: learning rate.
        discriminator_rate: learning rate.
        tick_kimg: thousands of pictures between two looks.
    """

    lod: float
    resolution: int
    batch_size: int
    generator_rate: float
    discriminator_rate: float
    tick_kimg: float


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Steps of one resolution, all stable or all fading.

    Attributes:
        level: floor(lod): pictures of resolution / 2^level are fed.
        fading: whether the lod falls from `level` + 1 to `level`.
        first_image: pictures shown before it.
        steps: steps in it.
        values: the schedule at its first step.
    """

    level: int
    fading: bool
    first_image: int
    steps: int
    values: Values

    @property
    def name(self) -> str:
        """What the logs call it."""
        side = self.values.resolution
        return f"{side}x{side} {'fade-in' if self.fading else 'stable'}"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The plan of a run.

    Attributes:
        resolution: of the whole network, a power of two.
        start: resolution to begin with.
        total_kimg: thousands of pictures in the whole run.
        stable_kimg: thousands of pictures at each resolution.
        transition_kimg: thousands of pictures while one is faded in.
        replicas: batches are rounded down to a multiple of it.
        batch_sizes: resolution -> batch; 0 is for all others.
        most_per_replica: resolution -> most pictures per replica.
        generator_rates: resolution -> rate; 0 is for all others.
        discriminator_rates: the same.
        ramp_up_kimg: the rates rise from 0 over so many thousands of pictures.
        repeats: so many steps in a row are made with one step's lod.
        discriminator_steps: of the discriminator in a step; each shows a batch.
        ticks: resolution -> thousands of pictures between two looks.
    """

    resolution: int
    start: int = 8
    total_kimg: float = 25_000.0
    stable_kimg: float = 600.0
    transition_kimg: float = 600.0
    replicas: int = 1
    batch_sizes: Mapping[int, int] = dataclasses.field(
        default_factory=lambda: BATCH_SIZES[1]
    )
    most_per_replica: Mapping[int, int] = dataclasses.field(default_factory=dict)
    generator_rates: Mapping[int, float] = dataclasses.field(
        default_factory=lambda: RATES
    )
    discriminator_rates: Mapping[int, float] = dataclasses.field(
        default_factory=lambda: RATES
    )
    ramp_up_kimg: float = 0.0
    repeats: int = 4
    discriminator_steps: int = 1
    ticks: Mapping[int, float] = dataclasses.field(default_factory=lambda: TICKS)

    def __post_init__(self):
        log2_of(self.resolution)
        log2_of(self.start, "the resolution to start with")
        if self.start > self.resolution:
            raise errors.UserError(
                f"training starts at {self.start}x{self.start}, above the resolution "
                f"{self.resolution}"
            )
        for name in ("stable_kimg", "transition_kimg", "total_kimg", "ramp_up_kimg"):
            number(name, getattr(self, name))
        if self.stable_kimg + self.transition_kimg <= 0 and self.start_lod:
            raise errors.UserError("stable_kimg and transition_kimg are both 0")
        for name in ("repeats", "discriminator_steps"):
            if getattr(self, name) < 1:
                raise errors.UserError(
                    f"{name} has to be at least 1, got {getattr(self, name)}"
                )

    @property
    def start_lod(self) -> int:
        """The lod to begin with."""
        return log2_of(self.resolution) - log2_of(self.start)

    def lod(self, images: float) -> float:
        """Returns the level of detail after so many pictures."""
        period = self.stable_kimg + self.transition_kimg
        kimg = images / 1000.0
        if not period:
            return 0.0
        phase = math.floor(kimg / period)
        lod = float(self.start_lod - phase)
        if self.transition_kimg:
            faded = kimg - phase * period - self.stable_kimg
            lod -= max(faded, 0.0) / self.transition_kimg
        return max(lod, 0.0)

    def at(self, images: float) -> Values:
        """Returns what the schedule says after so many pictures."""
        lod = self.lod(images)
        resolution = 2 ** (log2_of(self.resolution) - math.floor(lod))
        batch = int(_of(self.batch_sizes, resolution))
        batch -= batch % self.replicas
        most = int(self.most_per_replica.get(resolution, batch // self.replicas))
        batch = min(batch, most * self.replicas)
        if batch < 1:
            raise errors.UserError(
                f"the batch of {_of(self.batch_sizes, resolution)} at "
                f"{resolution}x{resolution} is too small for {self.replicas} replicas"
            )
        ramp = 1.0
        if self.ramp_up_kimg:
            ramp = min(images / 1000.0 / self.ramp_up_kimg, 1.0)
        rates = self.rates_of(resolution)
        return Values(
            lod,
            resolution,
            batch,
            rates["generator"] * ramp,
            rates["discriminator"] * ramp,
            _of(self.ticks, resolution),
        )

    def rates_of(self, resolution: int) -> dict[str, float]:
        """Returns both networks' rates at a resolution, when they have risen."""
        return {
            "generator": _of(self.generator_rates, resolution),
            "discriminator": _of(self.discriminator_rates, resolution),
        }

    def group_images(self, batch_size: int) -> int:
        """Returns the pictures that are shown with one value of the lod."""
        return batch_size * self.repeats * self.discriminator_steps

    def stretches(self) -> list[Stretch]:
        """Returns the run in stretches between which the optimizers start afresh."""
        found: list[Stretch] = []
        total, images = round(self.total_kimg * 1000), 0
        while images < total:
            values = self.at(images)
            key = _key(values.lod)
            group = self.group_images(values.batch_size)
            end = self._end(images, group, key, total)
            found.append(
                Stretch(
                    math.floor(values.lod),
                    key[0] != key[1],
                    images,
                    end * self.repeats,
                    values,
                )
            )
            images += end * group
        return found

    def fading_from(self, level: int) -> float:
        """Returns after how many pictures the lod falls below `level` + 1."""
        phase = self.start_lod - (level + 1)
        period = self.stable_kimg + self.transition_kimg
        return 1000.0 * (phase * period + self.stable_kimg)

    def _end(self, images: int, group: int, key: tuple[int, int], total: int) -> int:
        """Returns how many groups of steps begin before `key` or the run ends."""
        low, high = 1, -(-(total - images) // group)
        # The lod only falls, so that the first group of another key is found by halves.
        while low < high:
            middle = (low + high) // 2
            if _key(self.lod(images + middle * group)) == key:
                low = middle + 1
            else:
                high = middle
        return low


def log2_of(resolution: int, what: str = "resolution") -> int:
    """Returns the exponent of a resolution, or raises `UserError`."""
    exponent = int(resolution).bit_length() - 1
    if not 4 <= resolution <= MAX_RESOLUTION or 2**exponent != resolution:
        raise errors.UserError(
            f"{what} has to be a power of two from 4 to {MAX_RESOLUTION}, got "
            f"{resolution}"
        )
    return exponent


def table(name: str, pairs: Mapping | str) -> dict[int, float]:
    """Returns a table by resolution from `{"64": 32}` or `"0:8 64:32"`.

    Raises:
        UserError: it is malformed.
    """
    try:
        if isinstance(pairs, str):
            pairs = dict(pair.split(":") for pair in pairs.replace(",", " ").split())
        found = {int(key): float(value) for key, value in pairs.items()}
    except (TypeError, ValueError):
        raise errors.UserError(
            f"{name} has to be pairs of resolution and number such as '0:8 64:32', got "
            f"{pairs!r}"
        ) from None
    for key in found:
        if key:
            log2_of(key, f"a resolution of {name}")
    return found


def _of(values: Mapping[int, float], resolution: int):
    for key in (resolution, 0):
        if key in values:
            return values[key]
    raise errors.UserError(
        f"nothing is said for {resolution}x{resolution}, nor for all others (0), in "
        + " ".join(f"{key}:{value:g}" for key, value in sorted(values.items()))
    )


def _key(lod: float) -> tuple[int, int]:
    return math.floor(lod), math.ceil(lod)
