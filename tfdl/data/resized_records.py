"""Resized copies in TFRecord files, in TF-slim's layout or the original's."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfdl.data import image_files, image_folders, image_records, records
from tfdl.data.resized_copies import (
    Done,
    Style,
    claim,
    refuse,
    resized,
    run,
    summary,
)
from tfdl.engine import command, errors, files


def from_folder(
    source: files.PathLike,
    output: files.PathLike,
    style: Style,
    shards: int = 16,
    workers: int = 0,
) -> dict[str, Any]:
    """Writes a folder's splits as `OUTPUT/train-00000-of-00016` and so on.

    TF-slim's layout: labels from 1, the class folder's name as `image/class/synset`;
    the classes stand in `OUTPUT/classes.txt`. Picture k goes to shard k modulo
    `shards`. Finished shards of an interrupted call are kept.

    Args:
        source: PATH/{train,validation or val}/CLASS/*, or PATH/CLASS/* (train).
        output: the folder to write.
        style: how the copies are made.
        shards: files per split; fewer where there are fewer pictures.
        workers: processes; 0 is one per core.

    Raises:
        UserError: as `write_folder`, and when `shards` is below 1.
    """
    if shards < 1:
        raise errors.UserError(f"shards has to be at least 1, got {shards}")
    output = pathlib.Path(output)
    root = pathlib.Path(source).expanduser()
    jobs, counts, kept, classes, bad = [], {}, 0, None, []
    for split, names in image_folders.FOLDERS.items():
        alone = split == "train" and not any(
            (root / n).is_dir() for ns in image_folders.FOLDERS.values() for n in ns
        )
        if not alone and not any((root / name).is_dir() for name in names):
            continue
        found = image_folders.FolderSource(str(source), split, classes, style.on_bad)
        classes = found.classes if classes is None else classes
        bad += found.bad.lines(len(found.bad))
        counts[split] = len(found)
        parts = min(shards, len(found))
        for i in range(parts):
            path = output / f"{split}-{i:05d}-of-{parts:05d}"
            rows = [
                (found.paths[k], int(found.labels[k]), classes[found.labels[k]])
                for k in range(i, len(found), parts)
            ]
            if path.is_file():
                kept += len(rows)
            else:
                jobs.append((str(path), rows, style))
    if classes is None:
        raise errors.UserError(f"folder:{source}: no such folder, or no pictures in it")
    claim(output, {"size": style.size, "quality": style.quality, "records": "slim"})
    files.atomic_write(output / "classes.txt", "\n".join(classes) + "\n")
    total = sum(counts.values())
    done = run(write_shard, jobs, workers, total, kept, command.start_tensorflow)
    return summary(output, done, kept, bad)


def write_shard(path: str, rows: Sequence[tuple], style: Style) -> Done:
    """Writes one file of `from_folder`."""
    bad: list[str] = []

    def examples() -> Iterator[bytes]:
        for name, label, synset in rows:
            try:
                data, height, width = resized(pathlib.Path(name).read_bytes(), style)
            except image_files.Unreadable as error:
                bad.append(refuse(name, error, style))
                continue
            example = tf.train.Example()
            feature = example.features.feature
            _describe(feature, data, height, width)
            feature["image/class/label"].int64_list.value.append(label + 1)
            feature["image/class/synset"].bytes_list.value.append(synset.encode())
            file = pathlib.Path(name).name.encode()
            feature["image/filename"].bytes_list.value.append(file)
            yield example.SerializeToString(deterministic=True)

    return Done(records.write([path], examples()), tuple(bad))


def from_records(
    pattern: str, output: files.PathLike, style: Style, workers: int = 0
) -> dict[str, Any]:
    """Copies TFRecord files one by one, each under its name, with smaller pictures.

    Everything else in the records, labels above all, stays as it is.

    Raises:
        UserError: as `RecordSource`, two files with one name, an unreadable picture
            under `"stop"`, a full disk.
    """
    output = pathlib.Path(output)
    paths = records.expand(pattern)
    first = image_records.RecordSource(paths[0])
    targets = [output / pathlib.Path(path).name for path in paths]
    if len(set(targets)) < len(targets):
        raise errors.UserError(f"{pattern}: two of the files have the same name")
    if any(target.resolve() == pathlib.Path(p).resolve() for target, p in zip(
        targets, paths, strict=True
    )):  # fmt: skip
        raise errors.UserError(f"{output} holds the originals; write somewhere else")
    claim(
        output, {"size": style.size, "quality": style.quality, "records": first.layout}
    )
    for name in ("classes.txt", "label.labels.txt", "features.json"):
        beside = pathlib.Path(paths[0]).parent / name
        if beside.is_file():
            files.atomic_write(output / name, beside.read_bytes())
    jobs, kept = [], 0
    for path, target in zip(paths, targets, strict=True):
        if target.is_file():
            kept += len(records.Records(str(target)))
        else:
            jobs.append((path, str(target), first.layout, style))
    total = kept + sum(len(records.Records(job[0])) for job in jobs)
    done = run(copy_shard, jobs, workers, total, kept, command.start_tensorflow)
    return summary(output, done, kept, [])


def copy_shard(source: str, target: str, layout: str, style: Style) -> Done:
    """Copies one file of `from_records`."""
    bad: list[str] = []
    key = image_records.LAYOUTS[layout][0]
    originals = records.Records(source)

    def examples() -> Iterator[bytes]:
        for i in range(len(originals)):
            try:
                example = tf.train.Example.FromString(originals.read([i])[0])
                value = example.features.feature[key].bytes_list.value
                data, height, width = resized(value[0] if value else b"", style)
            except image_files.Unreadable as error:
                bad.append(refuse(originals.name(i), error, style))
                continue
            if layout == "slim":
                _describe(example.features.feature, data, height, width)
            else:
                value[0] = data
            yield example.SerializeToString(deterministic=True)

    return Done(records.write([target], examples()), tuple(bad))


def _describe(feature, data: bytes, height: int, width: int) -> None:
    """Sets the features that TF-slim's layout has about the picture itself."""
    for name, kind, value in (
        ("encoded", "bytes_list", data),
        ("format", "bytes_list", b"JPEG"),
        ("colorspace", "bytes_list", b"RGB"),
        ("channels", "int64_list", 3),
        ("height", "int64_list", height),
        ("width", "int64_list", width),
    ):
        getattr(feature[f"image/{name}"], kind).value[:] = [value]
