"""The Frechet distance between two sets of features (Heusel et al. 2017).

With Inception's features it is the FID, with any other's it is not, and must not be
called so.
"""

import dataclasses

import numpy as np

_BLOCK = 1024


class Moments:
    """Mean and covariance of features that arrive in batches, in float64."""

    def __init__(self):
        self._count = 0
        self._mean = self._scatter = None
        # Rows wait until there are enough of them: each update passes over a whole
        # matrix, which for a few rows is all that it costs.
        self._waiting: list[np.ndarray] = []

    def update(self, features: np.ndarray) -> "Moments":
        """Takes features [N, D] in."""
        rows = np.asarray(features)
        if rows.ndim != 2:
            raise ValueError(f"features have to be [N, D], got {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("features that are not finite")
        if len(rows):
            self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= _BLOCK:
            self._take()
        return self

    def _take(self) -> None:
        """Takes the waiting rows in (Chan et al.'s update, which is stable)."""
        from scipy.linalg import blas

        if not self._waiting:
            return
        rows = np.concatenate(self._waiting).astype(np.float64)
        self._waiting = []
        if self._mean is None:
            width = rows.shape[1]
            self._mean = np.zeros(width)
            self._scatter = np.zeros([width, width], order="F")
        mean = rows.mean(0)
        shift = mean - self._mean
        taken = len(rows)
        total = self._count + taken
        # What separates the means counts like one more row.
        apart = shift * np.sqrt(self._count * taken / total)
        rows -= mean
        rows = np.concatenate([rows, apart[None]])
        self._scatter = blas.dsyrk(
            1.0, rows.T, beta=1.0, c=self._scatter, lower=1, overwrite_c=1
        )
        self._mean = self._mean + shift * (taken / total)
        self._count = total

    @property
    def count(self) -> int:
        """How many features there were."""
        return self._count + sum(map(len, self._waiting))

    @property
    def mean(self) -> np.ndarray:
        """The mean [D]."""
        self._take()
        if self._mean is None:
            raise ValueError("moments of no features")
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance [D, D]."""
        if self.count < 2:
            raise ValueError(f"a covariance needs 2 features or more, got {self.count}")
        return self._symmetric() / (self.count - 1)

    @property
    def rank_deficient(self) -> bool:
        """There are too few features for a covariance of full rank."""
        return self.count <= len(self.mean)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what `load` takes, to be kept in a file."""
        scatter = self._symmetric()
        return {"count": np.array(self.count), "mean": self.mean, "scatter": scatter}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray]) -> "Moments":
        """Returns moments of what `arrays` returned."""
        moments = cls()
        moments._count = int(arrays["count"])
        moments._mean = arrays["mean"]
        moments._scatter = np.asfortranarray(arrays["scatter"])
        return moments

    def _symmetric(self) -> np.ndarray:
        """Returns the scatter matrix, of which the lower half is kept."""
        self._take()
        lower = np.tril(self._scatter, -1)
        return lower + lower.T + np.diag(np.diagonal(self._scatter))


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
