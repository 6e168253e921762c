"""Children that sleep: they measure what a search costs besides training."""

import os
import random
import signal
import time
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors, options
from tfdl.models.automl.children.child import Children, Report
from tfdl.models.automl.spaces.space import Architecture


class SleepChildren(Children):
    """Sleeps instead of training; the reward is the mean of the architecture.

    The values of an architecture can also make it misbehave, to show that a search
    bears that.

    Args:
        config: `seconds`, or `[least, most]` of which the trial's seed chooses one;
            `noise`: the reward's standard deviation, chosen by the seed as well;
            `hang`, `die`, `fail`, `diverge`: the first value of architectures that
            sleep for ever, kill their process, raise an error, score NaN.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__(config)
        allowed = ("name", "seconds", "noise", "hang", "die", "fail", "diverge")
        for key in config:
            if key not in allowed:
                raise errors.unknown("option of children 'sleep'", key, allowed)
        seconds = config.get("seconds", 0.0)
        span = seconds if isinstance(seconds, list | tuple) else (seconds, seconds)
        self._least, self._most = (options.number("seconds", s) for s in span)
        self._noise = options.number("noise", config.get("noise", 0.0))

    def train(self, arch: Architecture, seed: int, report: Report) -> dict[str, Any]:
        """Sleeps; see `Children`."""
        rng = random.Random(seed)
        report({"epoch": 0})
        time.sleep(rng.uniform(self._least, self._most))
        first = arch[0]
        if first == self.config.get("hang"):
            time.sleep(1e6)
        if first == self.config.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if first == self.config.get("fail"):
            raise ValueError(f"architecture {arch} cannot be built")
        if first == self.config.get("diverge"):
            return {"reward": float("nan")}
        reward = sum(arch) / len(arch) + rng.gauss(0.0, self._noise)
        return {"reward": reward, "pid": os.getpid()}


CHILDREN = SleepChildren
