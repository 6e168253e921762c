"""The Frechet distance between two sets of features (Heusel et al. 2017).

With Inception's features it is the FID, with any other's it is not, and must not be
called so.
"""

import dataclasses

import numpy as np


class Moments:
    """Mean and covariance of features that arrive in batches, in float64."""

    def __init__(self, width: int | None = None):
        self.count = 0
        self._mean = None if width is None else np.zeros(width)
        self._scatter = None if width is None else np.zeros([width, width])

    def update(self, features: np.ndarray) -> "Moments":
        """Takes features [N, D] in (Chan et al.'s pairwise update, which is stable)."""
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2:
            raise ValueError(f"features have to be [N, D], got {rows.shape}")
        if not len(rows):
            return self
        if not np.isfinite(rows).all():
            raise ValueError("features that are not finite")
        if self._mean is None:
            self._mean = np.zeros(rows.shape[1])
            self._scatter = np.zeros([rows.shape[1]] * 2)
        mean = rows.mean(0)
        centred = rows - mean
        scatter = centred.T @ centred
        shift = mean - self._mean
        total = self.count + len(rows)
        self._scatter += scatter + np.outer(shift, shift) * (
            self.count * len(rows) / total
        )
        self._mean = self._mean + shift * (len(rows) / total)
        self.count = total
        return self

    @property
    def mean(self) -> np.ndarray:
        """The mean [D]."""
        if self._mean is None:
            raise ValueError("moments of no features")
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance [D, D]."""
        if self.count < 2:
            raise ValueError(f"a covariance needs 2 features or more, got {self.count}")
        return self._scatter / (self.count - 1)

    @property
    def rank_deficient(self) -> bool:
        """There are too few features for a covariance of full rank."""
        return self.count <= len(self.mean)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what `load` takes, to be kept in a file."""
        return {
            "count": np.array(self.count),
            "mean": self.mean,
            "scatter": self._scatter,
        }

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray]) -> "Moments":
        """Returns moments of what `arrays` returned."""
        moments = cls()
        moments.count = int(arrays["count"])
        moments._mean, moments._scatter = arrays["mean"], arrays["scatter"]
        return moments


@dataclasses.dataclass(frozen=True)
class Distance:
    """A Frechet distance.

    Attributes:
        value: the squared distance, what is reported.
        rank_deficient: one of the sets is too small for its width: the distance is
            exact for these features, yet far above what more would give.
    """

    value: float
    rank_deficient: bool


def distance(a: Moments, b: Moments) -> Distance:
    """Returns |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))."""
    value = from_moments(a.mean, a.covariance, b.mean, b.covariance)
    return Distance(value, a.rank_deficient or b.rank_deficient)


def from_moments(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """Returns the distance of two means [D] and covariances [D, D].

    The root's trace is that of a symmetric matrix with the same eigenvalues: they are
    real, quick to find, and those that rounding made negative are zero. The matrix
    root of the product, the usual way, is neither symmetric nor always real.
    """
    if mean_a.shape != mean_b.shape:
        raise ValueError(f"features of {mean_a.shape} and of {mean_b.shape}")
    cov_a, cov_b = (np.asarray(x, np.float64) for x in (cov_a, cov_b))
    difference = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    trace = np.trace(cov_a) + np.trace(cov_b) - 2 * _root_trace(cov_a, cov_b)
    return float(difference @ difference + trace)


def _root_trace(cov_a: np.ndarray, cov_b: np.ndarray) -> float:
    """Returns tr((A B)^(1/2)) of two covariances.

    With A = F F', the eigenvalues of A B are those of the symmetric F' B F.
    """
    from scipy import linalg

    least = len(cov_a) * np.finfo(np.float64).eps
    try:
        factor = linalg.cholesky(cov_a, lower=True, check_finite=False)
    except linalg.LinAlgError:
        squares = np.zeros([1])
    else:
        squares = np.square(np.diagonal(factor))
    if squares.min() > least * squares.max():
        inner, _ = linalg.lapack.dsygst(cov_b, factor, itype=2, lower=1)
    else:
        # Of too few pictures, or with features that always are alike: directions in
        # which there is nothing add nothing.
        values, vectors = linalg.eigh(cov_a, driver="evd", check_finite=False)
        kept = values > max(values[-1], 0) * least
        if not kept.any():
            return 0.0
        factor = vectors[:, kept] * np.sqrt(values[kept])
        inner = factor.T @ cov_b @ factor
    found = linalg.eigvalsh(inner, driver="evd", check_finite=False)
    return float(np.sqrt(np.maximum(found, 0)).sum())
