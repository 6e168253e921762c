"""Models and their versions: loading, swapping without a gap, draining, status."""

import contextlib
import ctypes
import dataclasses
import gc
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from tfdl.serving import status, versions
from tfdl.serving.metrics import Metrics
from tfdl.serving.servable import Servable

State = get_model_status_pb2.ModelVersionStatus
log = logging.getLogger(__name__)


@dataclasses.dataclass
class Options:
    """How versions are found and loaded; names and defaults as in TF Serving.

    Attributes:
        file_system_poll_wait_seconds: between two looks at the models' folders; 0
            looks once.
        max_num_load_retries: of a version that cannot be loaded.
        load_retry_interval_micros: between them. A version whose files change is
            tried again at once.
        allow_version_labels_for_unavailable_models: labels may name versions that are
            not loaded yet.
    """

    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False


@dataclasses.dataclass
class _Version:
    """What is known of one version."""

    path: pathlib.Path
    state: int = State.START
    error: status.StatusError | None = None
    servable: Servable | None = None
    requests: int = 0
    attempts: int = 0
    next_attempt: float = 0.0
    fingerprint: tuple = ()


class Manager:
    """Keeps the configured models loaded; requests borrow versions from it.

    Args:
        load: makes a servable of (name, version, path), warmed up.
        options: see `Options`.
        metrics: counts the attempts to load.
        tell_ready: is told, again and again, whether every model serves.
    """

    def __init__(
        self,
        load: Callable[[str, int, pathlib.Path], Servable],
        options: Options,
        metrics: Metrics,
        tell_ready: Callable[[bool], None],
    ):
        self._load, self._options, self._metrics = load, options, metrics
        self._tell_ready = tell_ready
        self._configs: dict[str, versions.ModelConfig] = {}
        self._models: dict[str, dict[int, _Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._wanted: dict[str, set[int]] = {}
        self._changed = threading.Condition()
        self._configuring = threading.Lock()
        self._stopping = self._freed = False
        # The configuration's number, and the last one that all is loaded for.
        self._generation = self._settled = 0
        self._thread = threading.Thread(target=self._work, name="models", daemon=True)

    # --- configuration -----------------------------------------------------------

    def start(self, configs: Sequence[versions.ModelConfig]) -> None:
        """Loads the models that have a version; returns when they are loaded.

        Raises:
            StatusError: a bad configuration, or a model cannot be loaded.
        """
        generation = self._configure(configs)
        self._thread.start()
        self._await(generation, [config.name for config in configs])

    def reload(self, configs: Sequence[versions.ModelConfig]) -> None:
        """Changes the models to those of a new configuration.

        Models that are not in it any more are unloaded; returns when the new ones are
        loaded.

        Raises:
            StatusError: the configuration is wrong, and nothing changed, or a new
                model cannot be loaded.
        """
        with self._configuring:
            new = [c.name for c in configs if c.name not in self._configs]
            self._await(self._configure(configs), new)

    def _configure(self, configs: Sequence[versions.ModelConfig]) -> int:
        versions.check_configs(list(configs))
        with self._changed:
            self._labels = {c.name: self._checked_labels(c) for c in configs}
            self._configs = {config.name: config for config in configs}
            self._generation += 1
            self._changed.notify_all()
            return self._generation

    def _checked_labels(self, config: versions.ModelConfig) -> dict[str, int]:
        known = self._models.get(config.name, {})
        current = self._labels.get(config.name, {})
        for label, version in config.version_labels.items():
            record = known.get(version)
            if record is not None and record.state == State.AVAILABLE:
                continue
            if (
                self._options.allow_version_labels_for_unavailable_models
                and current.get(label, version) == version
            ):
                continue
            raise status.StatusError(
                status.Code.FAILED_PRECONDITION,
                f"Request to assign label to version {version} of model {config.name}, "
                "which is not currently available for inference",
            )
        return dict(config.version_labels)

    def _await(self, generation: int, names: Sequence[str]) -> None:
        """Waits until all that a configuration asks for is loaded or has failed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._settled >= generation
            )
            broken = [
                f"{{{{name: {name} version: {version}}} due to error: "
                f"{record.error.code.name}: {record.error.message}}}"
                for name in names
                if not self._serves(name)
                for version, record in self._models.get(name, {}).items()
                if record.error is not None
            ]
        if broken:
            raise status.StatusError(
                status.Code.UNKNOWN,
                f"{len(broken)} servable(s) did not become available: "
                f"{{{', '.join(broken)}}}",
            )

    def _serves(self, name: str) -> bool:
        known = self._models.get(name, {})
        return any(record.state == State.AVAILABLE for record in known.values())

    # --- requests ----------------------------------------------------------------

    @contextlib.contextmanager
    def borrow(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Yields the servable that a request names; it stays loaded meanwhile.

        Raises:
            StatusError: there is no such model, version or label.
        """
        if not spec.name:
            raise status.invalid("ModelSpec has no name specified.")
        with self._changed:
            record = self._find(spec)
            record.requests += 1
            servable = record.servable
        try:
            yield servable
        finally:
            with self._changed:
                record.requests -= 1
                if not record.requests and record.state != State.AVAILABLE:
                    self._changed.notify_all()

    def _find(self, spec: model_pb2.ModelSpec) -> _Version:
        known = self._models.get(spec.name, {})
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise status.invalid(
                    f"Unrecognized servable version label: {spec.version_label}"
                )
            version = labels[spec.version_label]
        elif choice == "version":
            version = spec.version.value
        else:
            ready = [v for v, r in known.items() if r.state == State.AVAILABLE]
            version = max(ready, default=None)
        record = known.get(version)
        if record is None or record.state != State.AVAILABLE:
            asked = f"Latest({spec.name})"
            if choice is not None:
                asked = f"Specific({spec.name}, {version})"
            raise status.StatusError(
                status.Code.NOT_FOUND, f"Servable not found for request: {asked}"
            )
        return record

    def states(self, name: str) -> list[tuple[int, int, status.StatusError | None]]:
        """Returns (version, state, error) of a model's versions, newest first."""
        with self._changed:
            known = sorted(self._models.get(name, {}).items(), reverse=True)
            return [(version, r.state, r.error) for version, r in known]

    def names(self) -> list[str]:
        """Returns the names of the configured models."""
        with self._changed:
            return list(self._configs)

    def is_known(self, name: str) -> bool:
        """Returns whether a model of that name is or was configured."""
        return name in self._models

    def is_ready(self) -> bool:
        """Returns whether every configured model has a version that serves."""
        with self._changed:
            return all(map(self._serves, self._configs))

    def stop(self) -> None:
        """Stops looking for versions; what is loaded goes on answering."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    # --- the thread that loads and unloads ---------------------------------------

    def _work(self) -> None:
        while not self._stopping:
            generation = self._generation
            try:
                self._look()
                # First out, then in: at most two versions of a model are in memory.
                if self._unload() or self._load_one():
                    continue
            except Exception:
                log.exception("looking after the models failed, will try again")
            self._tell_ready(self.is_ready())
            wait = self._options.file_system_poll_wait_seconds or None
            with self._changed:
                if not self._waits():
                    self._settled = generation
                    self._changed.notify_all()
                self._changed.wait_for(
                    lambda seen=generation: (
                        self._stopping or self._generation > seen or self._drained()
                    ),
                    wait,
                )
            if self._freed:
                # Requests that had just ended still held what was freed then.
                self._freed = False
                _free_memory()

    def _waits(self) -> bool:
        """Returns whether a version is to be loaded once others are gone."""
        return any(
            record.state == State.START
            for known in self._models.values()
            for record in known.values()
        )

    def _drained(self) -> list[_Version]:
        """Returns the versions that are to go and answer no request any more."""
        return [
            record
            for known in self._models.values()
            for record in known.values()
            if record.state == State.UNLOADING and not record.requests
        ]

    def _look(self) -> None:
        """Notes which versions there are and which are wanted."""
        for name, config in list(self._configs.items()):
            try:
                found = versions.on_disk(config.base_path)
            except OSError as error:
                # A folder that is away for a moment must not end its model.
                log.warning(
                    "model %s: cannot read %s (%s)", name, config.base_path, error
                )
                continue
            wanted = versions.wanted(config, found)
            with self._changed:
                known = self._models.setdefault(name, {})
                for version in wanted:
                    record = known.get(version)
                    ended = record is not None and record.state == State.END
                    if record is None or (ended and record.error is None):
                        known[version] = _Version(found[version])
                    elif ended and self._is_due(record):
                        record.state = State.START
                self._wanted[name] = set(wanted)
                self._mark(name)
        with self._changed:
            for name in self._models:
                if name not in self._configs:
                    self._wanted[name] = set()
                    self._mark(name)

    def _is_due(self, record: _Version) -> bool:
        if versions.fingerprint(record.path) != record.fingerprint:
            record.attempts = 0
            return True
        return (
            record.attempts <= self._options.max_num_load_retries
            and time.monotonic() >= record.next_attempt
        )

    def _mark(self, name: str) -> None:
        """Marks what is to be unloaded: never before a wanted version serves."""
        known, wanted = self._models[name], self._wanted[name]
        serves = any(v in wanted and r.servable for v, r in known.items())
        for version, record in known.items():
            if version in wanted:
                continue
            if record.state == State.START:
                record.state = State.END
            elif record.state == State.AVAILABLE and (serves or not wanted):
                record.state = State.UNLOADING

    def _load_one(self) -> bool:
        """Loads the newest version that may be loaded; returns whether there was one.

        A version waits until those before it have answered and are gone.
        """
        with self._changed:
            waiting = [
                (version, name, record)
                for name, known in self._models.items()
                if all(r.state != State.UNLOADING for r in known.values())
                for version, record in known.items()
                if record.state == State.START
            ]
            if not waiting:
                return False
            version, name, record = max(waiting, key=lambda one: one[:2])
            record.state, record.attempts = State.LOADING, record.attempts + 1
        record.fingerprint = versions.fingerprint(record.path)
        start = time.monotonic()
        servable = error = None
        try:
            servable = self._load(name, version, record.path)
        except Exception as caught:
            found = status.from_exception(caught)
            # Without the traceback, which would keep what was loaded so far.
            error = status.StatusError(found.code, found.message)
            log.warning(
                "model %s: version %d cannot be loaded: %s",
                name,
                version,
                error.message,
            )
        self._count_load(record.path, error, time.monotonic() - start)
        with self._changed:
            record.servable, record.error = servable, error
            record.state = State.END if error else State.AVAILABLE
            pause = self._options.load_retry_interval_micros / 1e6
            record.next_attempt = time.monotonic() + pause
            # Before a newer one appears, in whose favour this one would wait as well.
            self._mark(name)
        return True

    def _count_load(self, path, error, seconds) -> None:
        code = error.code.name if error else "OK"
        self._metrics.loads.add(str(path), code.lower() if error else "success")
        self._metrics.load_latency.set(str(path), to=int(seconds * 1e6))

    def _unload(self) -> bool:
        """Frees what is marked and answers no request any more."""
        with self._changed:
            drained = self._drained()
            for record in drained:
                record.servable, record.state = None, State.END
                record.attempts = 0
        if drained:
            self._freed = True
            _free_memory()
        return bool(drained)


def _free_memory() -> None:
    """Collects the cycles of a graph, and gives the memory back to the system."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
