"""Resized copies of a data set: short side 160 or 352, as the method's phases read."""

from typing import Any

from ml_collections import ConfigDict

from tfdl.data import image_sources, resized_copies, resized_records
from tfdl.engine import errors

FORMATS = ("folder", "tfrecord")


def prepare(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Writes copies of all pictures, in all splits.

    Args:
        config: the recipe `prepare`.
        input: `folder:PATH` or `tfrecord:GLOB`; a path alone is a folder.
        output: the folder to write.

    Returns:
        `pictures`, `written`, `kept` (from an interrupted call), `bad`, `output`.

    Raises:
        UserError: nothing to read, a value that makes no sense, a bad picture.
    """
    form, colon, path = input.partition(":")
    if not colon:
        form, path = "folder", input
    if form not in FORMATS:
        raise errors.unknown("form of --input", form, FORMATS)
    to = config.format or form
    if to not in FORMATS:
        raise errors.unknown("format", to, FORMATS)
    if form == "tfrecord" and to == "folder":
        raise errors.UserError("TFRecord files are copied to TFRecord files only")
    style = _style(config)
    if form == "tfrecord":
        return resized_records.from_records(path, output, style, config.workers)
    if to == "tfrecord":
        return resized_records.from_folder(
            path, output, style, config.shards, config.workers
        )
    return resized_copies.write_folder(path, output, style, config.workers)


def _style(config: ConfigDict) -> resized_copies.Style:
    if not 0 <= config.size <= 10_000:
        raise errors.UserError(f"size has to be in 0 to 10000, got {config.size}")
    if not 1 <= config.quality <= 100:
        raise errors.UserError(f"quality has to be in 1 to 100, got {config.quality}")
    on_bad = image_sources.check_on_bad(config.on_bad)
    return resized_copies.Style(config.size, config.quality, on_bad)
