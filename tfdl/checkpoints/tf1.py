"""TensorFlow checkpoints by variable name: `<prefix>.index` and data files."""

import os
import pathlib
import re
from collections.abc import Callable, Mapping

import numpy as np

from tfdl.checkpoints import atomic, sniff, tensor_bundle
from tfdl.engine import files
from tfdl.engine.errors import UserError

# Holds the object graph of a checkpoint that names variables by attribute path.
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def find(path: files.PathLike) -> str:
    """Returns the prefix of the checkpoint that a path stands for.

    Args:
        path: a prefix, one of the checkpoint's files, or a folder. In a folder with
            several, the one that its file `checkpoint` names is taken.

    Raises:
        UserError: there is none, or several and no hint.
    """
    text = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", os.fspath(path))
    if pathlib.Path(f"{text}.index").is_file():
        return text
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise UserError(f"{path}: no such checkpoint ({text}.index is not there)")
    found = sorted(file.with_suffix("") for file in folder.glob("*.index"))
    if not found:
        raise UserError(f"{folder} holds no TensorFlow checkpoint (*.index)")
    if len(found) == 1:
        return str(found[0])
    if (folder / "checkpoint").is_file():
        text = files.read_text(folder / "checkpoint", max_bytes=1 << 20)
        match = re.search(r'^model_checkpoint_path: "(.*)"$', text, re.MULTILINE)
        for prefix in found:
            if match and pathlib.PurePath(match[1]).name == prefix.name:
                return str(prefix)
    names = ", ".join(prefix.name for prefix in found[:5])
    raise UserError(
        f"{folder} holds {len(found)} checkpoints ({names} ...): give the path of one"
    )


def list_names(path: files.PathLike) -> list[str]:
    """Returns the names in a checkpoint, whose files are checked for size."""
    return list(tensor_bundle.check(find(path)))


def read(
    path: files.PathLike, wanted: Callable[[str], bool] | None = None
) -> dict[str, np.ndarray]:
    """Reads a checkpoint.

    Args:
        path: what `find` takes.
        wanted: tells by name which variables to read; all by default.

    Returns:
        Name -> array. Text variables are arrays of bytes objects.

    Raises:
        UserError: a file is missing, truncated or damaged; it is named.
    """
    import tensorflow as tf

    prefix = find(path)
    entries = tensor_bundle.check(prefix)
    chosen = [name for name in entries if wanted is None or wanted(name)]
    arrays = {}
    name = ""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in chosen:
            arrays[name] = np.asarray(reader.get_tensor(name))
    except (IndexError, ValueError, MemoryError, tf.errors.OpError) as error:
        # The path, which may be long, is told once.
        reason = str(error).replace(str(prefix), os.path.basename(prefix))
        reason = " ".join(reason.split())[:200]
        at = f"at {sniff.shown(name)} " if name else ""
        raise UserError(f"{prefix} is damaged {at}({reason})") from None
    return arrays


def write(prefix: files.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a checkpoint with one data file, whole or not at all.

    Args:
        prefix: the path without `.index`.
        tensors: name -> array, written under just that name.

    Raises:
        UserError: the files cannot be written.
    """
    import tensorflow as tf

    prefix = pathlib.Path(prefix)
    # In the order of TensorFlow's own Saver: the same weights give the same bytes.
    names = sorted(tensors)
    with atomic.scratch_folder(prefix) as scratch:
        aside = scratch / prefix.name
        try:
            tf.raw_ops.SaveV2(
                prefix=str(aside),
                tensor_names=names,
                shape_and_slices=[""] * len(names),
                tensors=[tensors[name] for name in names],
            )
        except tf.errors.OpError as error:
            reason = " ".join(error.message.split())[:200]
            raise UserError(f"cannot write {prefix}: {reason}") from None
        (data,) = tensor_bundle.data_files(aside, 1)
        (target,) = tensor_bundle.data_files(prefix, 1)
        # The index last: without it there is no checkpoint.
        for source, sink in ((data, target), (f"{aside}.index", f"{prefix}.index")):
            atomic.sync(source)
            os.replace(source, sink)
