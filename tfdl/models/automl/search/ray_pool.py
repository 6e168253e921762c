"""Workers on any number of machines, by Ray.

Ray is an extra: `pip install 'tfdl[ray]'`. Without an address a cluster of this machine
alone is started and ended with the search. A cluster's machines need tfdl, the same
version, and the children's data at the same paths:

    ray start --head --port=6379                       # on one machine
    ray start --address=HEAD:6379                      # on the others
    tfdl train --model=automl ... --config.stages.search.pool.name=ray \
        --config.stages.search.pool.address=HEAD:6379
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.search import packing
from tfdl.models.automl.search.pool import STARTS, Event, Failure, Pool, thread_limits
from tfdl.models.automl.search.worker import create, told
from tfdl.models.automl.spaces.space import Architecture

# Seconds a worker has to answer when it is asked for its last report.
_ANSWER = 10.0


class RayPool(Pool):
    """Actors of a Ray cluster; see `LocalPool` for what is not said here.

    Args:
        children: the configuration of `children.create`.
        workers: how many; 0 is as many as the cluster's cores allow.
        threads: that a child may use: cores an actor takes.
        time_limit: seconds without a report.
        recycle_after: children after which a worker is replaced.
        address: of the cluster, `HOST:PORT` or `"auto"`; "" starts one here.
    """

    def __init__(
        self,
        children: Mapping[str, Any],
        workers: int = 0,
        threads: int = 1,
        time_limit: float = 600.0,
        recycle_after: int = 0,
        address: str = "",
    ):
        self._ray = _import_ray()
        self._begun = not self._ray.is_initialized()
        self._slots: list[_Actor] = []
        if self._begun:
            _connect(self._ray, address, threads, workers)
        try:
            resources = self._ray.cluster_resources()
            cores, gpus = resources.get("CPU", 1), resources.get("GPU", 0)
            self.workers = workers or max(1, int(cores // threads))
            self._actor_class = self._ray.remote(
                num_cpus=threads,
                num_gpus=min(1.0, gpus / self.workers),
                max_restarts=0,
                max_concurrency=2,  # one trains, one tells when it last reported
            )(RayWorker)
            self._children = dict(children)
            self._time_limit, self._recycle_after = time_limit, recycle_after
            self._deaths = 0
            self._slots = [self._start(i) for i in range(self.workers)]
        except BaseException:
            self.close()
            raise

    def submit(self, trial: int, arch: Architecture, seed: int) -> None:
        """See `Pool`."""
        free = [actor for actor in self._slots if actor.trial is None]
        free.sort(key=lambda actor: not actor.ready)
        free[0].give(trial, arch, seed)

    def wait(self, timeout: float) -> Event | None:
        """See `Pool`."""
        deadline = time.monotonic() + timeout
        while True:
            awaited = self._awaited()
            until = min([deadline, *(a.since + self._time_limit for a in self._busy())])
            left = max(0.0, until - time.monotonic())
            if awaited:
                done, _ = self._ray.wait(list(awaited), num_returns=1, timeout=left)
            else:
                time.sleep(left)
                done = []
            for answer in done:
                event = self._read(awaited[answer], answer)
                if event is not None:
                    return event
            for actor in self._busy():
                if actor.since + self._time_limit <= time.monotonic():
                    event = self._inspect(actor)
                    if event is not None:
                        return event
            if time.monotonic() >= deadline:
                return None

    def free(self) -> int:
        """See `Pool`."""
        return sum(actor.trial is None for actor in self._slots)

    def cancel(self, trial: int) -> None:
        """See `Pool`."""
        for actor in self._slots:
            if actor.trial == trial:
                self._replace(actor)

    def close(self) -> None:
        """Ends the actors, and the cluster if it was started here."""
        for actor in self._slots:
            self._ray.kill(actor.handle)
        self._slots = []
        if self._begun:
            self._ray.shutdown()

    # --- one actor -----------------------------------------------------------------

    def _start(self, slot: int) -> "_Actor":
        handle = self._actor_class.remote(self._children)
        return _Actor(slot, handle, handle.prepare.remote())

    def _replace(self, actor: "_Actor") -> None:
        self._ray.kill(actor.handle)
        self._slots[actor.slot] = self._start(actor.slot)

    def _busy(self) -> list["_Actor"]:
        return [a for a in self._slots if a.ready and a.trial is not None]

    def _awaited(self) -> dict[Any, "_Actor"]:
        answers = {}
        for actor in self._slots:
            if not actor.ready:
                answers[actor.prepared] = actor
            elif actor.trial is not None:
                answers[actor.answer] = actor
        return answers

    def _read(self, actor: "_Actor", answer: Any) -> Event | None:
        try:
            kind, content = self._ray.get(answer)
        except self._ray.exceptions.RayActorError:
            return self._bury(actor)
        if kind == "refused":
            raise errors.UserError(content)
        if kind == "ready":
            self._deaths = 0
            actor.begin()
            return None
        trial, actor.trial = actor.trial, None
        actor.done += 1
        if self._recycle_after and actor.done >= self._recycle_after:
            self._replace(actor)
        result = content if kind == "result" else Failure("error", content)
        return Event(trial, result, actor.name)

    def _bury(self, actor: "_Actor") -> Event | None:
        if not actor.ready:
            self._deaths += 1
            if self._deaths >= STARTS:
                raise errors.UserError(
                    "workers on Ray die while they start; Ray's logs have their words"
                )
        self._replace(actor)
        if actor.trial is None:
            return None
        return Event(actor.trial, Failure("died", "its worker ended"), actor.name)

    def _inspect(self, actor: "_Actor") -> Event | None:
        """Asks a silent actor when its child last reported."""
        try:
            age = self._ray.get(actor.handle.silent_for.remote(), timeout=_ANSWER)
        except self._ray.exceptions.GetTimeoutError:
            age = self._time_limit
        except self._ray.exceptions.RayActorError:
            return self._bury(actor)
        if age < self._time_limit:
            actor.since = time.monotonic() - age
            return None
        self._replace(actor)
        message = f"no report for {self._time_limit:g} seconds"
        return Event(actor.trial, Failure("hung", message), actor.name)


class _Actor:
    """What the pool knows of one of its actors."""

    def __init__(self, slot: int, handle: Any, prepared: Any):
        self.slot, self.name = slot, str(slot)
        self.handle, self.prepared, self.answer = handle, prepared, None
        self.trial: int | None = None
        self.order: tuple[Architecture, int] | None = None
        self.ready, self.done, self.since = False, 0, time.monotonic()

    def give(self, trial: int, arch: Architecture, seed: int) -> None:
        """Hands a trial over, once the actor has its children."""
        self.trial, self.order = trial, (arch, seed)
        if self.ready:
            self.begin()

    def begin(self) -> None:
        """Notes that the actor is ready; what it was given in the meantime begins."""
        self.ready, self.since = True, time.monotonic()
        if self.order is not None:
            arch, seed = self.order
            self.answer = self.handle.train.remote(list(arch), seed)
            self.order = None


class RayWorker:
    """Trains children in a process of a cluster.

    Args:
        config: of the children.
    """

    def __init__(self, config: Mapping[str, Any]):
        self._config, self._children = config, None
        self._seen = time.monotonic()
        self._training = threading.Lock()

    def prepare(self) -> tuple[str, Any]:
        """Makes the children; they are used for every trial."""
        with self._training:
            try:
                self._children = create(self._config)
            except errors.UserError as error:
                return "refused", str(error)
        return "ready", None

    def train(self, arch: list[int], seed: int) -> tuple[str, Any]:
        """Trains one child; its result, or its error, as plain values."""
        with self._training:
            self._report({})
            try:
                result = self._children.train(tuple(arch), seed, self._report)
                return "result", json.loads(json.dumps(result, default=packing.plain))
            except Exception as error:
                return "error", told(error)

    def silent_for(self) -> float:
        """Returns the seconds since the last report."""
        return time.monotonic() - self._seen

    def _report(self, values: Mapping[str, float]) -> None:
        self._seen = time.monotonic()


def _connect(ray: Any, address: str, threads: int, workers: int) -> None:
    """Joins a cluster, or starts one that ends with this process."""
    if address not in ("", "auto"):
        _check_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    variables = thread_limits(threads)
    options: dict[str, Any] = {"address": address or "local"}
    if not address:
        paths = (path or os.getcwd() for path in sys.path)
        variables["PYTHONPATH"] = os.pathsep.join(paths)
        options["include_dashboard"] = False
        options["_node_ip_address"] = "127.0.0.1"
        if workers:
            options["num_cpus"] = workers * threads
    try:
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": variables},
            **options,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        where = f"at {address}" if address else "of this machine"
        raise errors.UserError(f"no Ray cluster {where}: {reason}") from None


def _check_address(address: str) -> None:
    """Raises `UserError` unless somebody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise errors.UserError(f"no Ray cluster at {address}: {error}") from None


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise errors.UserError(
            "the pool 'ray' needs Ray, which is not installed: pip install 'tfdl[ray]'"
        ) from None
    return ray
