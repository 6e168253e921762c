"""Multi-resolution TFRecords out of pictures, as the original's tool writes them."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from tfdl.engine import errors, files
from tfdl.models.stylegan import multi_records, sources


def prepare(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Writes a folder of multi-resolution TFRecords.

    Args:
        config: the recipe `prepare`.
        input: what a recipe's `data` takes; a path alone is a folder.
        output: the folder to write; the files are named after it.

    Returns:
        `pictures`, `resolution`, `channels`, `labels` (numbers in each), `left_out`
        and `output`.

    Raises:
        UserError: nothing to read, sizes that do not fit, a bad picture.
    """
    data = input if ":" in input else f"folder:{input}"
    found = sources.open_pictures(
        data,
        config.resolution,
        channels=config.channels,
        labels=config.labels,
        sizes=config.sizes,
        background=config.background,
        on_bad=config.on_bad,
        hold_mb=0,
    )
    order = np.arange(len(found))
    if config.shuffle:
        order = multi_records.shuffled_order(len(found))
    labels = found.label_rows(order) if found.label_size else None
    images = (found.read(np.array([i]), found.resolution)[0] for i in order)
    with files.atomic_directory(output, overwrite=False) as scratch:
        multi_records.write(scratch, images, found.resolution, labels, named=output)
    left_out = found.left_out()
    if left_out and config.on_bad == "stop":
        raise errors.UserError(left_out[0])
    return {
        "pictures": len(found),
        "resolution": found.resolution,
        "channels": found.channels,
        "labels": found.label_size,
        "left_out": left_out,
        "output": str(output),
    }
