"""Tables of every architecture's scores, see `tables`."""

import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import errors
from tfdl.models.automl.spaces.dag import DagSpace
from tfdl.models.automl.tables import compute, digits, table

INPUTS = ("embedded:digits",)


def prepare(config: ConfigDict, input: str, output: str) -> dict[str, Any]:
    """Trains all architectures of a small space and writes the table.

    Args:
        config: the recipe `table`.
        input: `embedded:digits`.
        output: the folder to write.

    Returns:
        `table` (its description's path), `architectures`, `distinct`, `seeds`, and
        the table's best validation accuracy, `best_valid`.

    Raises:
        UserError: a value that makes no sense, or what is in `output` is of another
            table.
    """
    if input not in INPUTS:
        raise errors.unknown("--input", input, INPUTS)
    if config.seeds < 1 or config.workers < 0:
        raise errors.UserError(
            f"seeds={config.seeds}, workers={config.workers}: at least 1 seed is "
            "needed, and 0 workers (one per core)"
        )
    space = DagSpace(config.nodes, config.ops)
    if space.size > compute.LARGEST:
        raise errors.UserError(
            f"{config.nodes} nodes of {len(config.ops)} operations are {space.size:,} "
            f"architectures; allowed are {compute.LARGEST:,}"
        )
    digits.check(space)
    folder = pathlib.Path(output)
    seeds = list(range(config.seeds))
    workers = config.workers or os.cpu_count() or 1
    correct = compute.compute(space, seeds, folder, workers)
    path = table.write(folder, space, compute.distinct(space), seeds, correct)
    done = table.digits(ops=len(space.ops), path=str(path))
    return {
        "table": str(path),
        "architectures": space.size,
        "distinct": len(correct),
        "seeds": len(seeds),
        "best_valid": float(done.mean_valid.max()),
    }
