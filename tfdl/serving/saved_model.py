"""Writing SavedModels into the layout that TF Serving reads."""

import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfdl.engine import errors, files
from tfdl.serving import status


def next_version(base: files.PathLike) -> int:
    """Returns the number of the next version folder under a model's folder."""
    base = pathlib.Path(base)
    versions = [
        int(path.name)
        for path in (base.iterdir() if base.is_dir() else ())
        if path.is_dir() and path.name.isdigit()
    ]
    return max(versions, default=0) + 1


def save(
    base: files.PathLike,
    module: tf.Module | tf.train.Checkpoint,
    signatures: Mapping[str, tf.types.experimental.ConcreteFunction],
    complete: Callable[[pathlib.Path], None] | None = None,
) -> pathlib.Path:
    """Writes a SavedModel as the next version; it appears at once and whole.

    Args:
        base: the model's folder, e.g. `saved_models/bert`.
        module: holds every variable and table that the signatures use.
        signatures: name -> concrete function.
        complete: adds files to the folder before it appears.

    Returns:
        The version folder.

    Raises:
        UserError: the folder cannot be written to or the disk is full.
    """
    base = pathlib.Path(base)
    scratch = None
    try:
        base.mkdir(parents=True, exist_ok=True)
        # TF Serving looks at folders with whole numbers as names only.
        scratch = pathlib.Path(tempfile.mkdtemp(dir=base, prefix=".export."))
        os.chmod(scratch, 0o755)
        write(scratch, module, signatures)
        if complete is not None:
            complete(scratch)
        while True:
            target = base / str(next_version(base))
            try:
                os.rename(scratch, target)
                return target
            except OSError:
                if not target.exists():
                    raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise errors.UserError(f"cannot write to {base}: {reason}") from None
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)


def write(
    folder: pathlib.Path,
    module: tf.Module | tf.train.Checkpoint,
    signatures: Mapping[str, tf.types.experimental.ConcreteFunction],
) -> None:
    """Writes a SavedModel into a folder.

    Raises:
        OSError: the folder cannot be written to or the disk is full.
    """
    try:
        tf.saved_model.save(module, str(folder), signatures=dict(signatures))
    except tf.errors.OpError as error:
        # The name of a temporary file, then what was wrong.
        reason = status.from_exception(error).message.rsplit("; ", 1)[-1]
        raise OSError(errno.EIO, reason, str(folder)) from None


def size(folder: files.PathLike) -> int:
    """Returns the bytes of all files in a folder."""
    return sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())


def inputs(signature: tf.types.experimental.ConcreteFunction) -> dict[str, tf.TypeSpec]:
    """Returns name -> spec of what a signature takes."""
    specs = tf.nest.flatten(signature.structured_input_signature)
    return {spec.name: spec for spec in specs if isinstance(spec, tf.TensorSpec)}
