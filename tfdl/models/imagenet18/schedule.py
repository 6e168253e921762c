"""The original's schedules: one list of phases for data and rates, by epoch.

A schedule is written as in the original's train.py. A phase is a dict with `ep`, the
epoch it starts at, or (start, end); with `bs` it says what the data are from then on,
with `lr` what the learning rate is. One dict may say both.

    {"ep": 0, "sz": 128, "bs": 512, "trndir": "-sz/160"},
    {"ep": (0, 7), "lr": (1.0, 2.0)},
    {"ep": (7, 13), "lr": (2.0, 0.25)},
    {"ep": 13, "sz": 224, "bs": 224, "trndir": "-sz/352", "min_scale": 0.087},
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.engine import errors, schedules

# Data: image size, images per device, folders beside the data's own, smallest crop,
# rectangular validation, whether to change the batch size only.
DATA_KEYS = ("sz", "bs", "trndir", "valdir", "min_scale", "rect_val", "keep_dl")
RATE_KEYS = ("lr", "curve")
CURVES = ("linear", "cosine", "poly2")
# How far along its phase the step b = 1..B of an epoch is: (b - 1 + this) / B.
RATE_AT = {"step_end": 1, "step_start": 0}


@dataclasses.dataclass(frozen=True)
class Data:
    """What a data phase says.

    Attributes:
        start: its first epoch.
        size: side of the training images, pixels.
        batch_size: images per device of the reference machines.
        folder: appended to the data's folder for training, e.g. `-sz/160`.
        validation_folder: the same for validation.
        min_scale: smallest part of the image's area that a crop takes.
        rectangular: whether validation keeps the images' aspect ratios.
        loaded_batch_size: the batch size when size and folders were last set; the
            validation batches depend on it.
    """

    start: int
    size: int
    batch_size: int
    folder: str
    validation_folder: str
    min_scale: float
    rectangular: bool
    loaded_batch_size: int

    @property
    def validation_batch_size(self) -> int:
        """Images per validation batch: as much as fits beside no gradients."""
        least = {128: 512, 224: 256}.get(self.size, 128)
        return max(self.loaded_batch_size, least)


@dataclasses.dataclass(frozen=True)
class Rate:
    """A rate phase: from `first` to `last` over the epochs [start, end)."""

    start: int
    end: int
    first: float
    last: float
    curve: str

    @property
    def length(self) -> int:
        """Epochs it moves over; 1 for a rate without an end."""
        return max(self.end - self.start, 1)


class Schedule:
    """Answers, for every epoch, what the data and the rates are.

    Args:
        phases: the list of dicts.
        examples: training images N.
        world: devices of the reference machines; batch sizes are per device.
        rate_at: `"step_end"`, the original's: the first step of a phase has made
            one increment already and the last one has its last rate; or
            `"step_start"`.

    Raises:
        UserError: an unknown key, a key of the wrong type, a gap, an end before its
            start; the message names the phase and the key.
    """

    def __init__(
        self,
        phases: Sequence[Mapping[str, Any]],
        examples: int,
        world: int,
        rate_at: str = "step_end",
    ):
        if examples < 1 or world < 1:
            raise errors.UserError(
                f"a schedule needs examples and devices, got {examples} and {world}"
            )
        if rate_at not in RATE_AT:
            raise errors.unknown("rate_at", rate_at, RATE_AT)
        self.examples, self.world, self.rate_at = examples, world, rate_at
        self._data: list[Data] = []
        self._rates: list[Rate] = []
        for index, phase in enumerate(phases):
            self._add(index, dict(phase))
        self._check()

    # --- by epoch ----------------------------------------------------------------

    @property
    def epochs(self) -> int:
        """Epochs of the schedule: the largest epoch that a rate phase names."""
        return max(rate.end for rate in self._rates)

    def data(self, epoch: int) -> Data:
        """Returns the data phase of an epoch: the last listed that has begun."""
        return [phase for phase in self._data if phase.start <= epoch][-1]

    def steps(self, epoch: int) -> int:
        """Returns B = ceil(ceil(N / world) / bs): no image is dropped."""
        per_device = math.ceil(self.examples / self.world)
        return math.ceil(per_device / self.data(epoch).batch_size)

    def global_batch_size(self, epoch: int) -> int:
        """Returns the images of a full step over all reference devices."""
        return self.data(epoch).batch_size * self.world

    def stretches(self) -> list[tuple[int, int]]:
        """Returns the epochs [start, end) over which the data do not change."""
        starts = [0]
        for epoch in range(1, self.epochs):
            before, now = self.data(epoch - 1), self.data(epoch)
            if dataclasses.replace(before, start=0) != dataclasses.replace(
                now, start=0
            ):
                starts.append(epoch)
        return list(zip(starts, [*starts[1:], self.epochs], strict=True))

    # --- rates -------------------------------------------------------------------

    def rate(self, epoch: int, batch: int) -> float:
        """Returns the learning rate of step `batch` (from 1) of an epoch."""
        steps = self.steps(epoch)
        phase = self._rate(epoch)
        done = (epoch - phase.start) * steps + batch - 1 + RATE_AT[self.rate_at]
        share = done / (phase.length * steps)
        return float(_along(phase.first, phase.last, share, phase.curve))

    def learning_rate(
        self, start: int, end: int, factor: float = 1.0, steps: int = 0
    ) -> schedules.Schedule:
        """Returns the rate as a function of the step within a stretch of epochs.

        Args:
            start: the first epoch of the stretch.
            end: the epoch after the last.
            factor: all rates are multiplied by it.
            steps: of an epoch, where they are not the schedule's.
        """
        steps = steps or self.steps(start)
        phases = [self._rate(epoch) for epoch in range(start, end)]
        table = np.array(
            [[p.start, p.length, p.first, p.last] for p in phases], np.float64
        )
        curves = np.array([CURVES.index(phase.curve) for phase in phases], np.int32)
        offset = RATE_AT[self.rate_at]

        def schedule(step):
            # In float64: the published tables are exact to more than float32's
            # rounding after three operations.
            step = tf.cast(step, tf.int64)
            row = tf.minimum(step // steps, len(phases) - 1)
            chosen = tf.gather(table, row)
            first_epoch, length, first, last = tf.unstack(chosen, axis=-1)
            done = (start - first_epoch) * steps + tf.cast(step + offset, tf.float64)
            share = done / (length * steps)
            kinds = sorted(set(curves.tolist()))
            rate = _along(first, last, share, CURVES[kinds[0]])
            for kind in kinds[1:]:
                other = _along(first, last, share, CURVES[kind])
                rate = tf.where(tf.gather(curves, row) == kind, other, rate)
            return tf.cast(rate * factor, tf.float32)

        return schedule

    def _rate(self, epoch: int) -> Rate:
        return [phase for phase in self._rates if phase.start <= epoch][-1]

    # --- reading -----------------------------------------------------------------

    def _add(self, index: int, phase: dict[str, Any]) -> None:
        where = f"schedule phase {index}"
        allowed = ("ep", *DATA_KEYS, *RATE_KEYS)
        for key in phase:
            if key not in allowed:
                raise errors.unknown(f"key of {where}", key, allowed)
        start, end = _epochs(where, phase.get("ep"))
        if "bs" not in phase and "lr" not in phase:
            raise errors.UserError(f"{where} has neither 'bs' (data) nor 'lr' (a rate)")
        if "bs" in phase:
            self._data.append(self._read_data(where, start, phase))
        elif set(phase) & set(DATA_KEYS):
            key = sorted(set(phase) & set(DATA_KEYS))[0]
            raise errors.UserError(f"{where} has {key!r} but no 'bs'")
        if "lr" in phase:
            self._rates.append(_read_rate(where, start, end, phase))
        elif "curve" in phase:
            raise errors.UserError(f"{where} has 'curve' but no 'lr'")

    def _read_data(self, where: str, start: int, phase: Mapping[str, Any]) -> Data:
        batch = _whole(where, "bs", phase["bs"], 1)
        if phase.get("keep_dl", False):
            if not self._data:
                raise errors.UserError(f"{where} has keep_dl, but nothing is loaded")
            return dataclasses.replace(self._data[-1], start=start, batch_size=batch)
        if "sz" not in phase:
            raise errors.UserError(f"{where} has 'bs' but no 'sz' (the image size)")
        scale = phase.get("min_scale", 0.08)
        if not isinstance(scale, int | float) or not 0 < scale <= 1:
            raise errors.UserError(
                f"{where}: min_scale has to be in (0, 1], got {scale!r}"
            )
        folder = str(phase.get("trndir", ""))
        return Data(
            start,
            _whole(where, "sz", phase["sz"], 8),
            batch,
            folder,
            str(phase.get("valdir", folder)),
            float(scale),
            bool(phase.get("rect_val", False)),
            batch,
        )

    def _check(self) -> None:
        for kind, phases in (("data ('bs')", self._data), ("rate ('lr')", self._rates)):
            if not phases:
                raise errors.UserError(f"the schedule has no {kind} phase")
            if phases[0].start != 0:
                raise errors.UserError(
                    f"the schedule's first {kind} phase starts at epoch "
                    f"{phases[0].start}, not 0"
                )
            starts = [phase.start for phase in phases]
            if starts != sorted(starts):
                raise errors.UserError(
                    f"the schedule's {kind} phases are not in order: {starts}"
                )
        for phase, following in zip(self._rates, self._rates[1:], strict=False):
            moves = phase.first != phase.last
            if moves and following.start > phase.end:
                raise errors.UserError(
                    f"the schedule has a gap: no rate for the epochs {phase.end} to "
                    f"{following.start}"
                )
        if self.epochs < 1:
            raise errors.UserError("the schedule ends before its first epoch")
        late = [p.start for p in self._data if p.start >= self.epochs]
        if late:
            raise errors.UserError(
                f"a data phase starts at epoch {late[0]}, but the rates end at "
                f"{self.epochs}"
            )


def _read_rate(where: str, start: int, end: int | None, phase: Mapping) -> Rate:
    given = phase["lr"]
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    fits = len(pair) == 2 and all(
        isinstance(value, int | float) and value >= 0 for value in pair
    )
    if not fits:
        raise errors.UserError(
            f"{where}: lr is a rate or a pair of rates, got {given!r}"
        )
    if end is None and pair[0] != pair[1]:
        raise errors.UserError(
            f"{where}: a rate that moves needs ep=(start, end), got ep={start}"
        )
    curve = phase.get("curve", "linear")
    if curve not in CURVES:
        raise errors.unknown(f"curve of {where}", curve, CURVES)
    # A rate without an end goes on until the next one.
    return Rate(
        start, start if end is None else end, float(pair[0]), float(pair[1]), curve
    )


def _epochs(where: str, value: Any) -> tuple[int, int | None]:
    if isinstance(value, list | tuple) and len(value) == 2:
        start, end = (_whole(where, "ep", item, 0) for item in value)
        if end <= start:
            raise errors.UserError(f"{where}: ep=({start}, {end}) ends at its start")
        return start, end
    if value is None:
        raise errors.UserError(f"{where} has no 'ep'")
    return _whole(where, "ep", value, 0), None


def _whole(where: str, key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise errors.UserError(
            f"{where}: {key} has to be a whole number of at least {least}, got "
            f"{value!r}"
        )
    return value


def _along(first, last, share, curve: str):
    """Returns the rate `share` of the way from `first` to `last`."""
    if curve == "linear":
        return first + (last - first) * share
    if curve == "poly2":
        return last + (first - last) * (1.0 - share) ** 2
    cos = math.cos if isinstance(share, float) else tf.cos
    return last + (first - last) * 0.5 * (1.0 + cos(math.pi * share))
