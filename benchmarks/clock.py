"""What a measurement takes, and sides that take turns."""

import time
from collections.abc import Callable

import numpy as np


class Clock:
    """Wall-clock and processor seconds since it was made."""

    def __init__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Returns both, in seconds."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"seconds": wall, "cpu_seconds": cpu}


def in_turns(name: str, repeats: int, sides: dict[str, Callable[[], dict]]) -> dict:
    """Measures all sides in turns, after a warm-up; returns medians and ratios."""
    taken: dict[str, list[dict]] = {side: [] for side in sides}
    for turn in range(repeats + 1):
        for side, measure in sides.items():
            found = measure()
            if turn:
                taken[side].append(found)
    record: dict = {"benchmark": name}
    for kind in ("seconds", "cpu_seconds"):
        each = {side: np.array([t[kind] for t in taken[side]]) for side in sides}
        record[kind] = {
            side: round(float(np.median(values)), 4) for side, values in each.items()
        }
        record[f"ratio_of_{kind}"] = {
            side: round(float(np.median(values / each["ours"])), 2)
            for side, values in each.items()
            if side != "ours"
        }
    return record
