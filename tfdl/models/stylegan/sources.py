"""Opening what a recipe's `data` names."""

from tfdl.data import image_sources
from tfdl.engine import errors
from tfdl.models.stylegan.multi_records import RecordPictures, found_at
from tfdl.models.stylegan.picture_folder import PictureFolder
from tfdl.models.stylegan.pictures import Pictures, SourcePictures


def check_labels(labels: str) -> str:
    """Returns how much of the labels is used, or raises `UserError`."""
    text = str(labels)
    if text in ("none", "full") or (text.isdigit() and int(text) > 0):
        return text
    raise errors.UserError(
        f"labels has to be none, full or how many of a label's first numbers, got "
        f"{text!r}"
    )


def open_source(data: str, labelled: bool, on_bad: str) -> image_sources.ImageSource:
    """Opens encoded pictures: any form of `image_sources`, folders without classes."""
    form, _, rest = data.partition(":")
    if form == "folder":
        return PictureFolder(rest, labelled, on_bad)
    return image_sources.open_source(data, "train", on_bad=on_bad)


def open_pictures(
    data: str,
    resolution: int = 0,
    *,
    channels: int = 3,
    labels: str = "none",
    sizes: str = "exact",
    background: str = "white",
    on_bad: str = "skip",
    hold_mb: int = 1024,
) -> Pictures:
    """Opens pictures of all sizes up to a resolution.

    Args:
        data: `folder:PATH`, with or without sub-folders; `tfrecord:FOLDER` or GLOB of
            the original's multi-resolution files; what `image_sources.open_source`
            takes.
        resolution: of the largest; 0 is what the data have.
        channels: 1 or 3; multi-resolution files have their own.
        labels: `"none"`, `"full"`, or how many of a label's first numbers.
        sizes: see `SourcePictures`.
        background: what shows through transparent pictures.
        on_bad: `"stop"` or `"skip"` pictures that cannot be read.
        hold_mb: up to how many MB pictures are held in memory.

    Raises:
        UserError: nothing there, or pictures that do not fit.
    """
    labels = check_labels(labels)
    image_sources.check_on_bad(on_bad)
    form, _, rest = data.partition(":")
    if form == "tfrecord" and found_at(rest):
        return RecordPictures(rest, resolution, labels)
    found = SourcePictures(
        open_source(data, labels != "none", on_bad),
        resolution,
        channels,
        sizes,
        background,
        on_bad,
        hold_mb,
        labels != "none",
    )
    if labels not in ("none", "full"):
        found.labels = found.label_rows(range(len(found)))[:, : int(labels)]
    return found
