"""The Frechet distance against the usual matrix root by SciPy, in one run.

    OMP_NUM_THREADS=2 python -m benchmarks.fid [--count=10000 --width=2048 --repeats=3]

Both sides get the same features: rectified, correlated, of a spectrum that falls as
Inception's does. Each computes means and covariances in float64, and the distance:
ours by `tfdl.metrics.generative.frechet`, the other as pytorch-fid does, with
`scipy.linalg.sqrtm` of the covariances' product. They take turns; prints a JSON line of
the median seconds of both parts, the ratios (other / ours) of the distance alone and of
the whole, and how far the two results are apart.
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


def moments(rows: np.ndarray) -> frechet.Moments:
    """Returns mean and covariance as tfdl computes them, batch by batch."""
    found = frechet.Moments()
    for start in range(0, len(rows), 1000):
        found.update(rows[start : start + 1000])
    return found


def usual_moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and covariance by NumPy."""
    rows = rows.astype(np.float64)
    return rows.mean(0), np.cov(rows, rowvar=False)


def usual_distance(a, b) -> float:
    """Returns the distance by the root of the covariances' product."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    root = linalg.sqrtm(cov_a @ cov_b)
    difference = mean_a - mean_b
    trace = np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root.real)
    return float(difference @ difference + trace)


SIDES = {
    "ours": (moments, lambda a, b: frechet.distance(a, b).value),
    "other": (usual_moments, usual_distance),
}


def run(count: int, width: int, repeats: int) -> dict[str, object]:
    """Returns the record of a measurement."""
    sets = features(count, width, 1, 0.1), features(count, width, 2, 0.13)
    times = {name: {"moments": [], "distance": []} for name in SIDES}
    values = {}
    for _ in range(repeats):
        for name, (describe, distance) in SIDES.items():
            clock = Clock()
            found = [describe(rows) for rows in sets]
            times[name]["moments"].append(clock.read()["seconds"])
            clock = Clock()
            values[name] = distance(*found)
            times[name]["distance"].append(clock.read()["seconds"])
    record = {"features": [count, width]}
    for name, taken in times.items():
        record[name] = {
            part: round(float(np.median(x)), 2) for part, x in taken.items()
        }
    arrays = {
        name: {part: np.array(x) for part, x in taken.items()}
        for name, taken in times.items()
    }
    alone = arrays["other"]["distance"] / arrays["ours"]["distance"]
    whole = sum(arrays["other"].values()) / sum(arrays["ours"].values())
    return record | {
        "ratio_distance": round(float(np.median(alone)), 2),
        "ratio_whole": round(float(np.median(whole)), 2),
        "distance": values["ours"],
        "apart": abs(values["ours"] / values["other"] - 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    print(json.dumps(run(**vars(parser.parse_args()))))
