"""Latent vectors: the three ways in which people truncate them.

    resample   every coordinate is N(0, 1) given that it lies within +- truncation: the
               paper's truncation trick (section 3.1)
    scaled     truncation x N(0, 1) given that it lies within +- 2: TF-Hub's modules
               and pytorch-pretrained-biggan; the one that truncation-indexed
               statistics are for
    std        N(0, truncation^2), unbounded: BigGAN-PyTorch's `z_var`, which it uses
               as a standard deviation

They are not equivalent: at 0.5 their standard deviations are 0.28, 0.44 and 0.5.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from tfdl.engine import errors

MODES = ("scaled", "resample", "std")
# Where `scaled` cuts the normal distribution.
BOUND = 2.0


def check(mode: str, truncation: float) -> float:
    """Returns the truncation as a float.

    Raises:
        UserError: an unknown mode, or a truncation that is not in (0, 1].
    """
    if mode not in MODES:
        raise errors.unknown("latent mode", mode, MODES)
    try:
        value = float(truncation)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 < value <= 1.0:
        raise errors.UserError(
            f"truncation {truncation!r} is outside its range: above 0, at most 1"
        )
    return value


def random_state(*seed: int) -> np.random.RandomState:
    """Returns NumPy's generator of a seed, or of several numbers together."""
    parts = [number % 2**32 for number in seed]
    return np.random.RandomState(parts[0] if len(parts) == 1 else parts)


def sample(
    count: int,
    dim: int,
    truncation: float = 1.0,
    mode: str = "scaled",
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """Returns latent vectors, float32 [count, dim].

    Args:
        count: how many.
        dim: their width.
        truncation: in (0, 1].
        mode: one of `MODES`. With an integer seed `scaled` gives the numbers of
            pytorch-pretrained-biggan's sampler.
        seed: of the draw; a sequence seeds independent parts of one draw.

    Raises:
        UserError: see `check`.
    """
    truncation = check(mode, truncation)
    state = random_state(*(seed if isinstance(seed, Sequence) else (seed,)))
    if mode == "scaled":
        values = stats.truncnorm.rvs(
            -BOUND, BOUND, size=(count, dim), random_state=state
        )
        return values.astype(np.float32) * np.float32(truncation)
    if mode == "std":
        return (truncation * state.standard_normal((count, dim))).astype(np.float32)
    # By the inverse of the distribution: exact, and no draw is thrown away.
    low, high = special.ndtr(-truncation), special.ndtr(truncation)
    values = special.ndtri(low + (high - low) * state.random_sample((count, dim)))
    return np.clip(values, -truncation, truncation).astype(np.float32)


def standard_deviation(truncation: float, mode: str) -> float:
    """Returns the standard deviation that a mode's coordinates have."""
    truncation = check(mode, truncation)
    if mode == "std":
        return truncation
    if mode == "scaled":
        return truncation * float(stats.truncnorm.std(-BOUND, BOUND))
    return float(stats.truncnorm.std(-truncation, truncation))


def interpolate(start: np.ndarray, end: np.ndarray, midpoints: int) -> np.ndarray:
    """Returns [rows, midpoints + 2, dim]: straight lines from `start` to `end`.

    BigGAN is walked in straight lines, in z and in the space of class embeddings.
    """
    share = np.linspace(0.0, 1.0, midpoints + 2, dtype=np.float32)[None, :, None]
    return (1.0 - share) * start[:, None] + share * end[:, None]
