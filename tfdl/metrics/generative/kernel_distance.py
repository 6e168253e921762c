"""The kernel distance between sets of features (KID; Binkowski et al. 2018)."""

import numpy as np


def polynomial_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the unbiased squared MMD with the kernel (a.b / D + 1)^3.

    Args:
        a: features [N, D].
        b: features [N, D]; with unequal counts the first of the larger are taken.
    """
    count = min(len(a), len(b))
    if count < 2:
        raise ValueError("a kernel distance needs 2 features or more on each side")
    a, b = (np.asarray(x[:count], np.float64) for x in (a, b))
    width = a.shape[1]

    def kernel(x, y):
        return (x @ y.T / width + 1) ** 3

    within = 0.0
    for x in (a, b):
        values = kernel(x, x)
        within += (values.sum() - np.trace(values)) / (count * (count - 1))
    return float(within - 2 * kernel(a, b).mean())


def kernel_distance(
    a: np.ndarray, b: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Returns mean and standard deviation of the MMD over random subsets.

    Args:
        a: features [N, D].
        b: features [M, D].
        subsets: how many.
        size: features in a subset; all of the smaller set where it has fewer.
        seed: of the draws, without replacement within a subset.
    """
    size = min(size, len(a), len(b))
    draws = np.random.default_rng(seed)
    found = []
    for _ in range(subsets):
        i = draws.choice(len(a), size, replace=False)
        j = draws.choice(len(b), size, replace=False)
        found.append(polynomial_mmd(a[i], b[j]))
    return float(np.mean(found)), float(np.std(found))
