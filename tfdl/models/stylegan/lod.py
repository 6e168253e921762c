"""The level of detail: which resolutions are in use while a network grows."""

from typing import Any

import tensorflow as tf


def split(lod: Any, stage: int | None, levels: int) -> tuple[int, tf.Tensor | float]:
    """Returns (stage, t): the largest resolutions out of use, and the fade.

    Args:
        lod: a number; or a tensor, whose whole part then has to be known as `stage`.
        stage: floor(lod); taken from `lod` without.
        levels: R, the base-2 logarithm of the full resolution.

    Returns:
        stage in [0, R - 2], and t in [0, 1): the part of the resolution below; a
        Python 0.0 where there is nothing to fade.
    """
    if stage is None:
        if tf.is_tensor(lod) and not hasattr(lod, "numpy"):
            raise ValueError("a symbolic lod needs its whole part as `stage`")
        lod = float(lod)
        stage = min(max(int(lod // 1), 0), levels - 2)
    if not 0 <= stage <= levels - 2:
        raise ValueError(f"stage has to be in [0, {levels - 2}], got {stage}")
    if stage == levels - 2:
        return stage, 0.0
    if tf.is_tensor(lod):
        return stage, tf.clip_by_value(tf.cast(lod, tf.float32) - stage, 0.0, 1.0)
    return stage, min(max(float(lod) - stage, 0.0), 1.0)
