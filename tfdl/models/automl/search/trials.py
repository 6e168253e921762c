"""The trials of a search as rows of an SQLite file that anybody can query.

    sqlite3 trials.sqlite "select number, reward, architecture from trials
                           where search = 'search' order by reward desc limit 5"

What a trial's end changes (its row, what the proposer learned, the next proposals) is
one transaction: a search that is killed goes on as if it had not been.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.search import packing

FORMAT = 1
_SCHEMA = """
create table searches (
    name text primary key, format integer not null, configuration text not null
);
create table state (
    search text not null, key text not null, value blob not null,
    primary key (search, key)
);
create table trials (
    search text not null, number integer not null, architecture text not null,
    canonical text not null, parent integer, seed integer not null,
    status text not null, attempts integer not null, reward real,
    told integer, told_reward real, metrics text not null, error text,
    worker text, started real, ended real,
    primary key (search, number)
);
"""


@dataclasses.dataclass
class Trial:
    """One proposal and what became of it.

    Attributes:
        number: counts the proposals of a search from 0.
        architecture: as the space writes it.
        canonical: the same for all architectures that make the same network.
        parent: the trial it was made from, if any.
        seed: of the child's weights and batches.
        status: `"proposed"`, `"running"`, `"done"` or `"failed"`.
        attempts: how often it was given to a worker.
        reward: what the child scored; the lowest one when it failed.
        told: when the proposer learned of it, counted from 0; None before.
        told_reward: what the proposer was told (a mean, where duplicates are
            averaged).
        metrics: what else the child said.
        error: why it failed.
        worker: who trained it.
        started: seconds since 1970.
        ended: seconds since 1970.
    """

    number: int
    architecture: str
    canonical: str
    parent: int | None
    seed: int
    status: str = "proposed"
    attempts: int = 0
    reward: float | None = None
    told: int | None = None
    told_reward: float | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None
    worker: str | None = None
    started: float | None = None
    ended: float | None = None


_COLUMNS = tuple(field.name for field in dataclasses.fields(Trial))


class Trials:
    """The rows of one search in a file that may hold several.

    Args:
        path: the file; made when it is not there.
        search: the name of the search.
        configuration: what makes this search the one it is: plain values. A file
            that holds a search of that name with another one is refused.

    Raises:
        UserError: the file is no SQLite file, is damaged, holds another search, is
            in use by another process, or cannot be written.
    """

    def __init__(
        self, path: pathlib.Path, search: str, configuration: Mapping[str, Any]
    ):
        self.path, self.search = path, search
        self._saved: dict[str, bytes] = {}
        self._lock = _lock(path)
        try:
            self._connection = _connect(path)
            with _readable(path):
                # Readers do not wait for the search, nor it for them.
                self._connection.execute("pragma journal_mode = wal").fetchone()
                self._connection.execute("pragma synchronous = normal")
                found = self._connection.execute("pragma quick_check(1)").fetchone()
                if found != ("ok",):
                    raise sqlite3.DatabaseError(found[0])
            self._freeze(json.loads(json.dumps(configuration)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file; what is left is one file that can be copied."""
        connection = getattr(self, "_connection", None)
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("pragma journal_mode = delete").fetchone()
            connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Trials":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes all changes within the block, or none."""
        with _readable(self.path):
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                self._saved.clear()
                raise
            self._connection.execute("commit")

    def write(self, trial: Trial) -> None:
        """Adds a trial, or replaces its row."""
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        values = [getattr(trial, name) for name in _COLUMNS]
        values[_COLUMNS.index("metrics")] = json.dumps(
            trial.metrics, default=packing.plain
        )
        self._connection.execute(
            f"insert or replace into trials (search, {', '.join(_COLUMNS)}) "
            f"values ({marks})",
            (self.search, *values),
        )

    def all(self) -> list[Trial]:
        """Returns all trials in the order of their numbers."""
        with _readable(self.path):
            return _rows(self._connection, self.search)

    def save_state(self, state: Any) -> None:
        """Keeps a state (see `packing`); arrays that did not change are skipped."""
        text, arrays = packing.pack(state)
        values = {f"array {i}": packing.to_bytes(a) for i, a in enumerate(arrays)}
        values["state"] = text.encode()
        for key, value in values.items():
            if self._saved.get(key) != value:
                self._connection.execute(
                    "insert or replace into state values (?, ?, ?)",
                    (self.search, key, value),
                )
                self._saved[key] = value

    def state(self) -> Any:
        """Returns the state that was saved last, None without any."""
        with _readable(self.path):
            rows = dict(
                self._connection.execute(
                    "select key, value from state where search = ?", (self.search,)
                ).fetchall()
            )
        if "state" not in rows:
            return None
        arrays = []
        while (data := rows.get(f"array {len(arrays)}")) is not None:
            arrays.append(packing.from_bytes(data))
        return packing.unpack(rows["state"].decode(), arrays)

    def _freeze(self, configuration: dict[str, Any]) -> None:
        with self.transaction():
            execute = self._connection.execute
            names = {row[0] for row in execute("select name from sqlite_master")}
            if not names:
                for statement in _SCHEMA.split(";"):
                    execute(statement)
            elif not {"searches", "state", "trials"} <= names:
                raise errors.UserError(
                    f"{self.path} is an SQLite file of something else: it has no "
                    "table of trials"
                )
            row = execute(
                "select format, configuration from searches where name = ?",
                (self.search,),
            ).fetchone()
            if row is None:
                execute(
                    "insert into searches values (?, ?, ?)",
                    (self.search, FORMAT, json.dumps(configuration, sort_keys=True)),
                )
                return
        if row[0] != FORMAT:
            raise errors.UserError(
                f"{self.path} has format {row[0]}, this version reads {FORMAT}"
            )
        changes = differences(json.loads(row[1]), configuration)
        if changes:
            raise errors.UserError(
                f"{self.path} holds another search ({'; '.join(changes[:3])}"
                f"{' ...' if len(changes) > 3 else ''}); choose another folder or "
                "delete the file"
            )


def read(path: pathlib.Path, search: str = "search") -> list[Trial]:
    """Returns the trials of a search, also while it runs.

    Raises:
        UserError: the file is missing, damaged, or has no such search.
    """
    if not path.is_file():
        raise errors.UserError(f"{path}: no such file")
    with _readable(path), contextlib.closing(_connect(path, "ro")) as connection:
        names = [
            row[0]
            for row in connection.execute("select name from searches order by rowid")
        ]
        if search not in names:
            raise errors.unknown(f"search of {path}", search, names)
        return _rows(connection, search)


def searches(path: pathlib.Path) -> list[str]:
    """Returns the names of the searches that a file holds."""
    with _readable(path), contextlib.closing(_connect(path, "ro")) as connection:
        return [
            row[0]
            for row in connection.execute("select name from searches order by rowid")
        ]


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies a file of trials whole, also while it is written to."""
    with (
        _readable(source),
        contextlib.closing(_connect(source, "ro")) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Returns where two plain values differ, as `path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            where = f"{path}.{key}" if path else key
            lines += differences(old.get(key), new.get(key), where)
        return lines
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def _rows(connection: sqlite3.Connection, search: str) -> list[Trial]:
    rows: Sequence[tuple] = connection.execute(
        f"select {', '.join(_COLUMNS)} from trials where search = ? order by number",
        (search,),
    ).fetchall()
    trials = [Trial(*row) for row in rows]
    for trial in trials:
        trial.metrics = json.loads(trial.metrics)
    return trials


def _connect(path: pathlib.Path, mode: str = "rwc") -> sqlite3.Connection:
    with _readable(path):
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=60,
            isolation_level=None,
        )


def _lock(path: pathlib.Path) -> int:
    """Takes the file's folder for this process; a kill sets it free."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise errors.UserError(f"another search is writing to {path}") from None
    except OSError:
        pass  # file systems without locks
    return lock


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
    """Turns what SQLite says of a bad file into one line."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise errors.UserError(f"{path} cannot be used: {error}") from None
