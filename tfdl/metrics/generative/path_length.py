"""Perceptual path length (Karras et al. 2018, section 4.1).

pairs = path_length.latents(seed, count, width)
distances = [...]    # perceptual distance of the two pictures / epsilon^2
path_length.filtered_mean(distances)
"""

import numpy as np

EPSILON = 1e-4
SAMPLINGS = ("full", "end")


def filtered_mean(distances: np.ndarray, low: float = 1.0, high: float = 99.0) -> float:
    """Returns the mean of what lies between two percentiles, both inclusive.

    The lower bound is the next value below the 1st percentile, the upper the next
    above the 99th.
    """
    values = np.asarray(distances)
    if not values.size:
        raise ValueError("the mean of no distances")
    bottom = np.percentile(values, low, method="lower")
    top = np.percentile(values, high, method="higher")
    kept = values[(values >= bottom) & (values <= top)]
    return float(np.mean(kept))


def places(draws: np.random.RandomState, count: int, sampling: str) -> np.ndarray:
    """Returns where on their paths pairs stand, [count, 1]: anywhere, or at the end."""
    if sampling == "end":
        return np.zeros([count, 1], np.float32)
    if sampling != "full":
        raise ValueError(f"sampling {sampling!r} is none of {SAMPLINGS}")
    return draws.uniform(size=[count, 1]).astype(np.float32)


def crop_faces(images: np.ndarray) -> np.ndarray:
    """Returns the middle of pictures [N, H, W, C], where FFHQ's faces are."""
    height, width = images.shape[1:3]
    if height < 8 or width < 8:
        raise ValueError(f"pictures of {height}x{width} are too small to crop")
    # The reference takes the unit from the height for both.
    unit = height // 8
    return images[:, 3 * unit : 7 * unit, 2 * unit : 6 * unit]


def shrink(images: np.ndarray, largest: int = 256) -> np.ndarray:
    """Returns pictures averaged over boxes until no side is over `largest`."""
    count, height, width, channels = images.shape
    factor = height // largest
    if factor <= 1:
        return images
    boxes = images.reshape(
        count, height // factor, factor, width // factor, factor, channels
    )
    return boxes.mean((2, 4))
