"""What a run writes for people and scripts: events, metrics.jsonl, samples."""

import json
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.engine import files


class Writers:
    """Writes TensorBoard events, `metrics.jsonl` and `samples/` of a run.

    Args:
        workdir: the run's folder.
        enabled: False on workers that write nothing.
        start_step: the step training goes on from; later lines of an interrupted
            run, which will be made again, are dropped.
    """

    def __init__(self, workdir: pathlib.Path, enabled: bool, start_step: int):
        self._enabled = enabled
        if not enabled:
            return
        self._samples = workdir / "samples"
        self._path = workdir / "metrics.jsonl"
        self._drop_after(start_step)
        self._lines = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        self._events = tf.summary.create_file_writer(str(workdir / "events"))

    def scalars(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Writes one line and its scalars.

        Args:
            step: optimizer steps made so far.
            kind: `"train"` or `"eval"`.
            values: numbers, and texts such as the phase's name.
        """
        if not self._enabled:
            return
        record = {"step": step, "kind": kind, "time": round(time.time(), 3), **values}
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        with self._events.as_default(step=step):
            for name, value in values.items():
                if isinstance(value, int | float):
                    tf.summary.scalar(f"{kind}/{name}", value)
        self._events.flush()

    def samples(self, step: int, samples: Mapping[str, Any]) -> None:
        """Writes texts and images ([H, W, C] uint8) to `samples/` and TensorBoard."""
        if not self._enabled or not samples:
            return
        with self._events.as_default(step=step):
            for name, value in samples.items():
                stem = f"{re.sub('[^A-Za-z0-9_.-]', '_', name)}-{step:07d}"
                if isinstance(value, str):
                    tf.summary.text(name, value)
                    files.atomic_write(self._samples / f"{stem}.txt", value)
                    continue
                image = np.asarray(value)
                tf.summary.image(name, image[None])
                png = tf.io.encode_png(image).numpy()
                files.atomic_write(self._samples / f"{stem}.png", png)

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._enabled:
            self._lines.close()
            self._events.close()

    def _drop_after(self, step: int) -> None:
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by a kill
        files.atomic_write(self._path, "".join(kept))
