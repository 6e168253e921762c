"""Checkpoints of a run: whole or absent, newest good one first."""

import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from tfdl.engine import distribution, errors, files

# What a damaged file raises: truncated data, a flipped bit, a broken index.
DAMAGE = (IndexError, tf.errors.OpError, ValueError, AssertionError, OSError)


class Checkpoints:
    """Saves and restores groups of variables under `WORKDIR/checkpoints`.

    A checkpoint `ckpt-<step>` counts once its marker `ckpt-<step>.json` is there;
    the marker is written last. Variables are kept in explicit lists: Keras models
    alone would leave out layers held in lists, and random state.

    Args:
        directory: where the checkpoints live.
        groups: name -> variables, in a fixed order.
        strategy: in a run of several workers all of them have to call `save`.
        keep: how many are kept.
    """

    def __init__(
        self,
        directory: files.PathLike,
        groups: Mapping[str, Sequence[tf.Variable]],
        strategy: tf.distribute.Strategy,
        keep: int = 3,
    ):
        self.directory = pathlib.Path(directory)
        self._strategy = strategy
        self._keep = max(1, keep)
        children = {
            name: tf.train.Checkpoint(
                **{f"v{i:05d}": variable for i, variable in enumerate(variables)}
            )
            for name, variables in groups.items()
        }
        self._checkpoint = tf.train.Checkpoint(**children)

    def steps(self) -> list[int]:
        """Returns the steps of the checkpoints that are there, oldest first."""
        found = []
        for marker in self.directory.glob("ckpt-*.json"):
            match = re.fullmatch(r"ckpt-(\d+)\.json", marker.name)
            if match and marker.with_suffix(".index").exists():
                found.append(int(match.group(1)))
        return sorted(found)

    def save(self, step: int, info: Mapping[str, Any] | None = None) -> None:
        """Saves everything as `ckpt-<step>`; older ones beyond `keep` go.

        Raises:
            UserError: the folder cannot be written to or the disk is full; the
                checkpoints that were there stay.
        """
        name = f"ckpt-{step}"
        if not distribution.is_chief(self._strategy):
            with tempfile.TemporaryDirectory() as scratch:
                self._checkpoint.write(f"{scratch}/{name}")
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            self._checkpoint.write(str(self.directory / name))
            marker = {"step": step, **(info or {})}
            files.atomic_write(self.directory / f"{name}.json", json.dumps(marker))
        except (tf.errors.OpError, OSError) as error:
            for path in self.directory.glob(f"{name}.*"):
                path.unlink(missing_ok=True)
            reason = " ".join((getattr(error, "message", None) or str(error)).split())
            # TensorFlow's messages begin with its op and the path, the cause is last.
            raise errors.UserError(
                f"cannot write checkpoint {self.directory / name}: "
                f"{reason.rpartition('; ')[2][-200:]}"
            ) from None
        for old in self.steps()[: -self._keep]:
            self._remove(old)

    def restore_latest(self) -> dict[str, Any] | None:
        """Restores the newest checkpoint that can be read whole.

        Returns:
            What `save` was told with it, `"step"` included; None without any.

        Raises:
            UserError: there are checkpoints, but all are damaged or of another
                architecture.
        """
        steps = self.steps()
        reasons = []
        for step in reversed(steps):
            try:
                info = json.loads((self.directory / f"ckpt-{step}.json").read_text())
                self._restore(step)
            except DAMAGE as error:
                reason = " ".join(str(error).split())[:160]
                reasons.append(f"ckpt-{step}: {reason}")
                logging.warning(
                    "checkpoint %s cannot be read (%s); trying the one before",
                    self.directory / f"ckpt-{step}",
                    reason,
                )
                continue
            if reasons and distribution.is_chief(self._strategy):
                for bad in steps[steps.index(step) + 1 :]:
                    self._remove(bad)
            return info
        if reasons:
            raise errors.UserError(
                f"no checkpoint in {self.directory} can be read: {reasons[0]}"
            )
        return None

    def _restore(self, step: int) -> None:
        path = str(self.directory / f"ckpt-{step}")
        # Reading everything first keeps a damaged file from restoring a part.
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
        status = self._checkpoint.read(path)
        status.assert_consumed()
        status.assert_existing_objects_matched()

    def _remove(self, step: int) -> None:
        # The marker goes first: without it the rest does not count.
        (self.directory / f"ckpt-{step}.json").unlink(missing_ok=True)
        for path in self.directory.glob(f"ckpt-{step}.*"):
            path.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        known = {f"ckpt-{step}" for step in self.steps()}
        for path in self.directory.iterdir():
            if path.is_dir() and path.name.endswith("_temp"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith("ckpt-") and path.stem.split(".")[0] not in known:
                path.unlink(missing_ok=True)
