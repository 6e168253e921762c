"""A table: what every architecture of a space scores."""

import dataclasses
import functools
import hashlib
import io
import json
import pathlib
from collections.abc import Callable

import numpy as np

from tfdl.engine import errors, files
from tfdl.models.automl.spaces.dag import DagSpace
from tfdl.models.automl.spaces.space import Architecture, Space
from tfdl.models.automl.tables import nas_bench_graph

_SHIPPED = pathlib.Path(__file__).with_name("digits.json")
_MAX_BYTES = 64 << 20
# Of digits: training, validation and test.
COUNTS = (1000, 400, 397)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Scores of all architectures of a space, a column for each training seed.

    Attributes:
        name: how recipes call it.
        space: the architectures.
        valid: validation accuracy [architectures, seeds] in [0, 1], in the order of
            all values of the decisions, the last one's changing fastest.
        test: the same on test data.
    """

    name: str
    space: Space
    valid: np.ndarray
    test: np.ndarray

    @property
    def seeds(self) -> int:
        """How many times each architecture was trained."""
        return self.valid.shape[1]

    @functools.cached_property
    def mean_valid(self) -> np.ndarray:
        """Validation accuracy [architectures], the mean over seeds."""
        return self.valid.mean(1)

    @functools.cached_property
    def mean_test(self) -> np.ndarray:
        """Test accuracy [architectures], the mean over seeds."""
        return self.test.mean(1)

    def row(self, arch: Architecture) -> int:
        """Returns an architecture's row."""
        row = 0
        for value, decision in zip(arch, self.space.decisions, strict=True):
            row = row * len(decision.choices) + value
        return row

    def arch(self, row: int) -> Architecture:
        """Returns the architecture of a row."""
        row, values = int(row), []
        for decision in reversed(self.space.decisions):
            row, value = divmod(row, len(decision.choices))
            values.append(value)
        return tuple(reversed(values))


def digits(ops: int = 4, seeds: int | None = None, path: str = "") -> Table:
    """Returns the table of small cells that learn digits, see `tables.digits`.

    Args:
        ops: how many of its operations the architectures use: the first ones.
        seeds: how many of its seeds; None is all.
        path: a table that `tfdl prepare` wrote instead of the one that comes along.

    Raises:
        UserError: the file is damaged or no table.
    """
    source = pathlib.Path(path) if path else _SHIPPED
    stored, archs, correct = _read(source)
    whole = DagSpace(stored["nodes"], stored["ops"])
    if not 1 <= (seeds or 1) <= correct.shape[1]:
        raise errors.UserError(
            f"{source} has {correct.shape[1]} seeds, {seeds} are asked for"
        )
    if not 1 <= ops <= len(whole.ops):
        raise errors.UserError(
            f"{source} has {len(whole.ops)} operations, {ops} are asked for"
        )
    space = DagSpace(whole.nodes, whole.ops[:ops])
    rows = {tuple(arch): row for row, arch in enumerate(archs.tolist())}
    at = [rows[whole.canonical(arch)] for arch in space.all()]
    shares = correct[at][:, :seeds] / np.array(COUNTS, np.float64)
    return Table(f"digits-{space.size}", space, shares[..., 1], shares[..., 2])


def _read(path: pathlib.Path) -> tuple[dict, np.ndarray, np.ndarray]:
    """Returns a table's description, architectures and right answers, checked."""
    text = files.read_text(path, _MAX_BYTES)
    try:
        stored = json.loads(text)
        expected = stored["sha256"]
        data_path = path.with_name(stored["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise errors.UserError(f"{path} describes no table ({error!r})") from None
    data = files.require_file(data_path, _MAX_BYTES).read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise errors.UserError(f"{data_path} is damaged: {path.name} has another hash")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            archs, correct = arrays["archs"], arrays["correct"]
        space = DagSpace(stored["nodes"], stored["ops"])
        shape = (len(archs), len(stored["seeds"]), len(COUNTS))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise errors.UserError(f"{data_path} is no table ({error})") from None
    if correct.shape != shape or archs.shape[1:] != (len(space.edges),):
        raise errors.UserError(
            f"{data_path} has architectures {archs.shape} and answers {correct.shape}, "
            f"which {path.name} does not tell"
        )
    return stored, archs, correct


def write(
    folder: pathlib.Path, space: DagSpace, archs: list, seeds: list, correct: np.ndarray
) -> pathlib.Path:
    """Writes a table and its description, `digits.json`; returns its path."""
    data = io.BytesIO()
    np.savez_compressed(
        data, archs=np.array(archs, np.int8), correct=correct.astype(np.uint16)
    )
    files.atomic_write(folder / "digits.npz", data.getvalue())
    description = {
        "what": "right answers of small cells trained on digits: the distinct "
        "architectures [A, edges] and their counts [A, seeds, (train, valid, test)]",
        "made_by": "tfdl prepare --model=automl --recipe=table",
        "pictures": "Optical Recognition of Handwritten Digits, E. Alpaydin and "
        "C. Kaynak, UCI Machine Learning Repository 1998, CC BY 4.0, as scikit-learn "
        "carries them; the table has none of them",
        "licence": "Apache-2.0",
        "nodes": space.nodes,
        "ops": list(space.ops),
        "seeds": list(seeds),
        "of": dict(zip(("train", "valid", "test"), COUNTS, strict=True)),
        "data": "digits.npz",
        "sha256": hashlib.sha256(data.getvalue()).hexdigest(),
    }
    text = json.dumps(description, indent=2) + "\n"
    return files.atomic_write(folder / "digits.json", text)


def graph_networks(dataset: str = "cora") -> Table:
    """Returns NAS-Bench-Graph's table of a data set, from its package.

    Raises:
        UserError: the package is not installed, or there is no such data set.
    """
    space, valid, test = nas_bench_graph.load(dataset)
    return Table(f"nas-bench-graph-{dataset}", space, valid[:, None], test[:, None])


def _named() -> dict[str, Callable[[], Table]]:
    tables = {
        "digits-4096": digits,
        "digits-729": functools.partial(digits, ops=3, seeds=1),
    }
    for dataset in nas_bench_graph.DATASETS:
        name = f"nas-bench-graph-{dataset}"
        tables[name] = functools.partial(graph_networks, dataset)
    return tables


TABLES = _named()


@functools.lru_cache(maxsize=4)
def find(name: str) -> Table:
    """Returns a table by name, or the one that `tfdl prepare` described in a file.

    Raises:
        UserError: there is none of that name, or it cannot be read.
    """
    if name.endswith(".json"):
        return digits(path=name, ops=_ops(name))
    if name not in TABLES:
        raise errors.unknown("table", name, [*TABLES, "FILE.json"])
    return TABLES[name]()


def _ops(path: str) -> int:
    return len(_read(pathlib.Path(path))[0]["ops"])
