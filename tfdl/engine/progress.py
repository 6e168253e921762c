"""Progress: a bar on a terminal, plain lines in a log. Both go to stderr."""

import sys
import time
from collections.abc import Mapping

import tqdm


class Progress:
    """Shows how far a run is, how fast, and its latest numbers.

    Args:
        total: steps of the run.
        start: steps made already.
        name: what is running.
        enabled: False on workers that show nothing.
        unit: what is counted.
    """

    def __init__(
        self,
        total: int,
        start: int,
        name: str,
        enabled: bool = True,
        unit: str = "step",
    ):
        self._unit = unit
        self._total, self._step, self._name = total, start, name
        self._enabled = enabled
        self._clock, self._from = time.monotonic(), start
        self._bar = None
        if enabled and sys.stderr.isatty():
            self._bar = tqdm.tqdm(
                total=total,
                initial=start,
                desc=name,
                unit=unit,
                dynamic_ncols=True,
                leave=True,
            )

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Moves to `step`; with `values`, shows them (a line in a log)."""
        if self._bar is not None:
            self._bar.update(step - self._step)
            if values:
                self._bar.set_postfix_str(_numbers(values))
        self._step = step
        if self._enabled and self._bar is None and values:
            elapsed = time.monotonic() - self._clock
            rate = (step - self._from) / elapsed if elapsed > 0 else 0.0
            left = (self._total - step) / rate if rate > 0 else 0.0
            self.message(
                f"{self._name} {step}/{self._total}  {_numbers(values)}  "
                f"{rate:.1f} {self._unit}s/s  ETA {_clock(left)}"
            )

    def message(self, text: str) -> None:
        """Shows a line of text."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def rate(self) -> float:
        """Returns steps per second since the start."""
        elapsed = time.monotonic() - self._clock
        return (self._step - self._from) / elapsed if elapsed > 0 else 0.0

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


def _numbers(values: Mapping[str, float]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
