"""Pools of workers that train children: on this machine, or on any number of them."""

import abc
import dataclasses
import math
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import connection
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.search import messages
from tfdl.models.automl.spaces.space import Architecture

# Workers that die while they start, one after the other, before it is given up.
STARTS = 3
# Seconds that a worker has to import what it needs and to read its data.
START_LIMIT = 600.0
_WORKER = "tfdl.models.automl.search.worker"


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a trial has no result.

    Attributes:
        kind: `"error"`: the child raised something; `"died"`: its worker did;
            `"hung"`: it reported nothing for longer than the time limit.
        message: one line.
    """

    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class Event:
    """A trial that ended.

    Attributes:
        trial: its number.
        result: what the child returned, or why there is nothing.
        worker: who trained it.
    """

    trial: int
    result: dict[str, Any] | Failure
    worker: str


class Pool(abc.ABC):
    """Trains children on workers that stay alive for many of them.

    Attributes:
        workers: how many children train at once.
    """

    workers: int

    @abc.abstractmethod
    def submit(self, trial: int, arch: Architecture, seed: int) -> None:
        """Gives a trial to a free worker."""

    @abc.abstractmethod
    def wait(self, timeout: float) -> Event | None:
        """Returns the next trial that ended, None when none did in `timeout` seconds.

        Raises:
            UserError: workers cannot make their children at all.
        """

    @abc.abstractmethod
    def free(self) -> int:
        """Returns how many trials can be submitted now."""

    @abc.abstractmethod
    def cancel(self, trial: int) -> None:
        """Stops a trial; no event comes of it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the workers."""

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class LocalPool(Pool):
    """Processes of this machine.

    Workers end with the process that has the pool, however that ends.

    Args:
        children: the configuration of `children.create`.
        workers: how many; 0 is as many as the cores allow.
        threads: that a child may use.
        time_limit: seconds without a report after which a child is taken for
            hanging; its worker is replaced.
        recycle_after: children after which a worker is replaced by a new one,
            against leaks; 0 is never.
        gpus: how many there are; workers are spread over them.
        logs: the folder of what workers write to stderr; None mixes it with ours.
    """

    def __init__(
        self,
        children: Mapping[str, Any],
        workers: int = 0,
        threads: int = 1,
        time_limit: float = 600.0,
        recycle_after: int = 0,
        gpus: int = 0,
        logs: pathlib.Path | None = None,
    ):
        cores = len(os.sched_getaffinity(0))
        self.workers = workers or max(1, cores // threads)
        self._setup = {"children": dict(children)}
        self._time_limit, self._recycle_after = time_limit, recycle_after
        self._environments = [
            _environment(threads, i % gpus if gpus else None)
            for i in range(self.workers)
        ]
        self._logs = logs
        self._deaths = 0
        self._slots: list[_Worker] = []
        try:
            for i in range(self.workers):
                self._slots.append(self._start(i))
        except BaseException:
            self.close()
            raise

    def submit(self, trial: int, arch: Architecture, seed: int) -> None:
        """Gives a trial to a free worker, a started one if there is."""
        free = [worker for worker in self._slots if worker.trial is None]
        free.sort(key=lambda worker: not worker.ready)
        free[0].give(trial, arch, seed)

    def wait(self, timeout: float) -> Event | None:
        """See `Pool`."""
        deadline = time.monotonic() + timeout
        while True:
            until = min([deadline, *map(self._deadline, self._slots)])
            left = max(0.0, until - time.monotonic())
            pipes = {worker.pipe: i for i, worker in enumerate(self._slots)}
            for pipe in connection.wait(list(pipes), left):
                event = self._read(pipes[pipe])
                if event is not None:
                    return event
            for i, worker in enumerate(self._slots):
                if self._deadline(worker) <= time.monotonic():
                    return self._give_up(i)
            if time.monotonic() >= deadline:
                return None

    def free(self) -> int:
        """See `Pool`."""
        return sum(worker.trial is None for worker in self._slots)

    def cancel(self, trial: int) -> None:
        """See `Pool`."""
        for i, worker in enumerate(self._slots):
            if worker.trial == trial:
                self._replace(i)

    def close(self) -> None:
        """See `Pool`."""
        for worker in self._slots:
            worker.stop()
        self._slots = []

    # --- one worker --------------------------------------------------------------

    def _start(self, slot: int) -> "_Worker":
        log = self._logs / f"worker-{slot}.log" if self._logs else None
        return _Worker(str(slot), self._setup, self._environments[slot], log)

    def _replace(self, slot: int) -> None:
        self._slots[slot].stop()
        self._slots[slot] = self._start(slot)

    def _deadline(self, worker: "_Worker") -> float:
        """Returns when a worker is taken for hanging, unless something comes of it."""
        if not worker.ready:
            return worker.since + max(START_LIMIT, self._time_limit)
        return math.inf if worker.trial is None else worker.since + self._time_limit

    def _read(self, slot: int) -> Event | None:
        """Takes one message of a worker, or notes its death."""
        worker = self._slots[slot]
        try:
            kind, content = messages.receive(worker.pipe)
        except (EOFError, OSError):
            return self._bury(slot)
        worker.since = time.monotonic()
        if kind == "refused":
            raise errors.UserError(content)
        if kind == "ready":
            worker.ready, self._deaths = True, 0
        elif kind in ("result", "error"):
            trial, worker.trial = worker.trial, None
            worker.done += 1
            name = worker.name
            if self._recycle_after and worker.done >= self._recycle_after:
                self._replace(slot)
            result = content if kind == "result" else Failure("error", content)
            return Event(trial, result, name)
        return None

    def _bury(self, slot: int) -> Event | None:
        worker = self._slots[slot]
        how = worker.ended()
        if not worker.ready:
            self._deaths += 1
            if self._deaths >= STARTS:
                where = f"; {worker.log} has its last words" if worker.log else ""
                raise errors.UserError(f"workers die while they start ({how}){where}")
        self._replace(slot)
        if worker.trial is None:
            return None
        return Event(worker.trial, Failure("died", f"its worker {how}"), worker.name)

    def _give_up(self, slot: int) -> Event:
        worker = self._slots[slot]
        if not worker.ready:
            raise errors.UserError("a worker did not get ready within its time limit")
        self._replace(slot)
        message = f"no report for {self._time_limit:g} seconds"
        return Event(worker.trial, Failure("hung", message), worker.name)


class _Worker:
    """A process that trains children, and the pipe to it."""

    def __init__(
        self,
        name: str,
        setup: Mapping[str, Any],
        environment: Mapping[str, str],
        log: pathlib.Path | None,
    ):
        self.name, self.log = name, log
        self.trial: int | None = None
        self.ready, self.done, self.since = False, 0, time.monotonic()
        self.pipe, theirs = connection.Pipe()
        output = None
        try:
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                output = open(log, "ab")  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER, str(theirs.fileno())],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output or sys.stderr,
                stderr=output or sys.stderr,
            )
        except OSError as error:
            raise errors.UserError(f"cannot start a worker: {error}") from None
        finally:
            theirs.close()
            if output is not None:
                output.close()
        messages.send(self.pipe, "setup", setup)

    def give(self, trial: int, arch: Architecture, seed: int) -> None:
        """Hands a trial over."""
        self.trial = trial
        if self.ready:
            self.since = time.monotonic()
        try:
            messages.send(self.pipe, "train", [list(arch), seed])
        except OSError:
            pass  # it has died: reading finds out

    def ended(self) -> str:
        """Returns how the process ended."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"was ended by signal {-code}" if code < 0 else f"exited with {code}"

    def stop(self) -> None:
        """Ends the process."""
        self.pipe.close()
        self._process.kill()
        self._process.wait()


def thread_limits(threads: int) -> dict[str, str]:
    """Returns the environment variables that keep a worker to its threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **dict.fromkeys(names, str(threads)),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Several workers share a GPU's memory.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def _environment(threads: int, gpu: int | None) -> dict[str, str]:
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, **thread_limits(threads)}
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        named = visible[gpu] if len(visible) > gpu and visible[0] else str(gpu)
        environment["CUDA_VISIBLE_DEVICES"] = named
    return environment
