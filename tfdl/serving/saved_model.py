"""Writing SavedModels into the layout that TF Serving reads."""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping

import tensorflow as tf

from tfdl.engine import errors, files


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
    module: tf.Module,
    signatures: Mapping[str, tf.types.experimental.ConcreteFunction],
) -> pathlib.Path:
    """Writes a SavedModel as the next version; it appears at once and whole.

    Args:
        base: the model's folder, e.g. `saved_models/bert`.
        module: holds every variable and table that the signatures use.
        signatures: name -> concrete function.

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
        tf.saved_model.save(module, str(scratch), signatures=dict(signatures))
        while True:
            target = base / str(next_version(base))
            try:
                os.rename(scratch, target)
                return target
            except OSError:
                if not target.exists():
                    raise
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "message", None) or error.strerror or str(error)
        raise errors.UserError(
            f"cannot write to {base}: {' '.join(str(reason).split())[:200]}"
        ) from None
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)
