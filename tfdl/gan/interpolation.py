"""Ways between latents: straight lines, and arcs on the sphere."""

import numpy as np


def normalise(x: np.ndarray) -> np.ndarray:
    """Returns vectors [..., D] of length 1."""
    return x / np.sqrt(np.sum(np.square(x), axis=-1, keepdims=True))


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Returns a + (b - a) t."""
    return a + (b - a) * t


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Returns the points at `t` of the arcs from `a` to `b`, of length 1.

    Both ends are brought to length 1 first, as the paper's path length has it. Vectors
    that point the same way stay where they are; of opposite ones no arc is defined,
    and their result is not a number.

    Args:
        a: [..., D].
        b: [..., D].
        t: a number, or [..., 1].
    """
    a, b = normalise(a), normalise(b)
    dot = np.clip(np.sum(a * b, axis=-1, keepdims=True), -1, 1)
    angle = t * np.arccos(dot)
    rest = b - dot * a
    length = np.sqrt(np.sum(np.square(rest), axis=-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        side = np.where((length == 0) & (dot > 0), 0, rest / length)
    return normalise(a * np.cos(angle) + side * np.sin(angle))


def path(points: np.ndarray, steps: int, arc: bool = False) -> np.ndarray:
    """Returns a closed way through latents, `steps` from each to the next.

    Args:
        points: [N, ...], N at least 2.
        steps: pictures from one point (with it) to the next (without it).
        arc: slerp between points; their lengths are interpolated too, so that a
            normal latent stays one.

    Returns:
        [N * steps, ...].
    """
    result = []
    for a, b in zip(points, np.roll(points, -1, 0), strict=True):
        for i in range(steps):
            t = i / steps
            if not arc:
                result.append(lerp(a, b, t))
                continue
            lengths = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
            result.append(slerp(a, b, t) * lerp(*lengths, t))
    return np.stack(result).astype(points.dtype)
