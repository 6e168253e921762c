"""Precision, recall, density and coverage by nearest neighbours.

Precision and recall are those of Kynkaanniemi et al. 2019, density and coverage of
Naeem et al. 2020.
"""

import numpy as np

_TILE = 1024


def prdc(
    real: np.ndarray, fake: np.ndarray, k: int = 5, strict: bool = True
) -> dict[str, float]:
    """Returns precision, recall, density and coverage.

    A point's ball reaches to its k-th nearest neighbour in its own set, itself not
    counted. Memory is what a stripe of distances takes, never all of them.

    Args:
        real: features [N, D].
        fake: features [M, D].
        k: which neighbour.
        strict: a point on a ball's surface is outside, as in the density paper's code;
            the precision paper's counts it as inside.

    Raises:
        ValueError: a set has k points or fewer.
    """
    real, fake = (np.asarray(x, np.float64) for x in (real, fake))
    for name, points in (("real", real), ("generated", fake)):
        if len(points) <= k:
            raise ValueError(f"{len(points)} {name} pictures are too few for k={k}")
    reach_real, reach_fake = _reach(real, k), _reach(fake, k)
    inside = np.less if strict else np.less_equal
    counts = np.zeros(len(fake), np.int64)
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for start in range(0, len(real), _TILE):
        rows = slice(start, start + _TILE)
        distances = _squared(real[rows], fake)
        counts += inside(distances, reach_real[rows, None]).sum(0)
        recalled[rows] = inside(distances, reach_fake[None]).any(1)
        covered[rows] = inside(distances.min(1), reach_real[rows])
    return {
        "precision": float((counts > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(counts.mean() / k),
        "coverage": float(covered.mean()),
    }


def _reach(points: np.ndarray, k: int) -> np.ndarray:
    """Returns the squared distance of each point's k-th neighbour."""
    result = np.empty(len(points))
    for start in range(0, len(points), _TILE):
        distances = _squared(points[start : start + _TILE], points)
        own = np.arange(len(distances))
        distances[own, start + own] = -1.0  # itself comes first
        result[start : start + _TILE] = np.partition(distances, k, axis=1)[:, k]
    return result


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None]
    return np.maximum(squares - 2 * (a @ b.T), 0.0)
