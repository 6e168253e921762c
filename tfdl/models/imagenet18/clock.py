"""The hours of a run as DAWNBench counts them, across interruptions."""

import time

import tensorflow as tf


class Clock:
    """Counts the seconds of training, and of validation if it should.

    The count is a variable that goes into checkpoints: a run that was interrupted
    counts what led to its result, not what was lost.

    Args:
        count_validation: whether the time in `paused` counts.
    """

    def __init__(self, count_validation: bool = True):
        self._count_validation = count_validation
        self._since: float | None = None
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @property
    def hours(self) -> float:
        """Hours so far."""
        return float(self.seconds.numpy()) / 3600

    def start(self) -> None:
        """Counts from now on, unless it does already."""
        if self._since is None:
            self._since = time.monotonic()

    def update(self) -> None:
        """Brings `seconds` up to date."""
        if self._since is not None:
            now = time.monotonic()
            self.seconds.assign_add(now - self._since)
            self._since = now

    def stop(self) -> None:
        """Stops counting until the next `start`."""
        self.update()
        self._since = None

    def validation_starts(self) -> None:
        """Goes on counting, or pauses, as the rules chosen say."""
        if not self._count_validation:
            self.stop()

    def validation_ends(self) -> None:
        """Brings the count up to date after a validation."""
        self.update()
