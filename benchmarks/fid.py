"""The Frechet distance against the usual matrix root by SciPy, in one run.

    OMP_NUM_THREADS=2 python -m benchmarks.fid [--count=10000 --width=2048 --repeats=3]

Both sides get the same features: rectified, correlated, of a spectrum that falls as
Inception's does. Each computes means and covariances in float64, and the distance:
ours by `tfdl.metrics.generative.frechet`, the other as pytorch-fid does, with
`scipy.linalg.sqrtm` of the covariances' product. They take turns; prints a JSON line of
the median seconds, the ratio (other / ours) and how far the two results are apart.
"""

import argparse
import json

import numpy as np
from scipy import linalg

from benchmarks.clock import Clock
from tfdl.metrics.generative import frechet


def features(count: int, width: int, seed: int, shift: float) -> np.ndarray:
    """Returns features [count, width], float32 and not negative."""
    draws = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=[width, width]) / np.sqrt(width)
    scales = np.exp(-4 * np.arange(width) / width)
    rows = (draws.normal(size=[count, width]) * scales) @ mixing
    return np.maximum(rows + shift, 0).astype(np.float32)


def ours(real: np.ndarray, fake: np.ndarray) -> float:
    """Returns the distance as tfdl computes it, batch by batch."""
    moments = [frechet.Moments(), frechet.Moments()]
    for found, rows in zip(moments, (real, fake), strict=True):
        for start in range(0, len(rows), 1000):
            found.update(rows[start : start + 1000])
    return frechet.distance(*moments).value


def usual(real: np.ndarray, fake: np.ndarray) -> float:
    """Returns the distance by the root of the covariances' product."""
    (mean_a, cov_a), (mean_b, cov_b) = (
        (x.mean(0), np.cov(x, rowvar=False))
        for x in (real.astype(np.float64), fake.astype(np.float64))
    )
    root = linalg.sqrtm(cov_a @ cov_b)
    difference = mean_a - mean_b
    trace = np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root.real)
    return float(difference @ difference + trace)


def run(count: int, width: int, repeats: int) -> dict[str, object]:
    """Returns the record of a measurement."""
    real, fake = features(count, width, 1, 0.1), features(count, width, 2, 0.13)
    times = {"ours": [], "other": []}
    values = {}
    for _ in range(repeats):
        for name, function in (("ours", ours), ("other", usual)):
            clock = Clock()
            values[name] = function(real, fake)
            times[name].append(clock.read()["seconds"])
    ratios = np.array(times["other"]) / np.array(times["ours"])
    return {
        "features": [count, width],
        "seconds": {name: round(float(np.median(x)), 2) for name, x in times.items()},
        "ratio": round(float(np.median(ratios)), 2),
        "distance": values["ours"],
        "apart": abs(values["ours"] / values["other"] - 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    print(json.dumps(run(**vars(parser.parse_args()))))
