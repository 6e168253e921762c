"""Small picture folders for tests; the pixels are made up."""

import io

import numpy as np
from PIL import Image


def encoded(
    height: int = 40, width: int = 50, seed: int = 0, kind: str = "JPEG", mode="RGB"
) -> bytes:
    """Returns a smooth random picture as a file."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.convert(mode).save(
        buffer, kind, **({"quality": 90} if kind == "JPEG" else {})
    )
    return buffer.getvalue()


def folder(root, per_class: int = 4, classes=("cat", "dog"), splits=("train",)):
    """Writes ROOT/SPLIT/CLASS/k.jpg of different sizes; returns ROOT."""
    seed = 0
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for k in range(per_class):
                seed += 1
                data = encoded(30 + 3 * k, 40 + seed, seed)
                (root / split / name / f"{k}.jpg").write_bytes(data)
    return root


def pixels(data: bytes) -> np.ndarray:
    """Returns Pillow's pixels."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
