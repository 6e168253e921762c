"""The result of a search: a model directory with an architecture and no weights.

`assets/` has the trials (`trials.sqlite`), the winners (`winners.json`) and pictures
of the cell and of the scores.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors, files, model_dir
from tfdl.models.automl import spaces
from tfdl.models.automl.search import trials as trials_lib
from tfdl.models.automl.spaces.space import Architecture, Space

KIND = "search"
TRIALS = "trials.sqlite"
WINNERS = "winners.json"


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        directory: the model directory.
        space: what was searched.
        architecture: the winner.
        genotype: the winner as data, see `spaces.genotypes`.
        winners: the best ones, the winner first: dicts of `rescoring.Winner`.
    """

    directory: pathlib.Path
    space: Space
    architecture: Architecture
    genotype: Mapping[str, Any]
    winners: list[dict[str, Any]]

    @property
    def trials(self) -> pathlib.Path:
        """The file of all trials.

        Raises:
            UserError: there is none.
        """
        return model_dir.asset(self.directory, TRIALS)


def is_result(config: Mapping[str, Any]) -> bool:
    """Tells whether a model directory's configuration is that of a search's result."""
    return config.get("kind") == KIND


def read(directory: files.PathLike) -> SearchResult:
    """Returns the result that a model directory holds.

    Raises:
        UserError: it is no result of a search, or its architecture does not parse.
    """
    config = model_dir.read_config(directory)
    if not is_result(config):
        raise errors.UserError(f"{directory} is not the result of a search")
    missing = [k for k in ("space", "architecture", "genotype") if k not in config]
    if missing:
        raise errors.UserError(
            f"{directory}/{model_dir.CONFIG} lacks {', '.join(missing)}"
        )
    space = spaces.create(config["space"])
    try:
        architecture = space.parse(config["architecture"])
    except errors.UserError as error:
        raise errors.UserError(f"{directory}/{model_dir.CONFIG}: {error}") from None
    winners = config.get("winners", [])
    path = pathlib.Path(directory)
    return SearchResult(path, space, architecture, config["genotype"], winners)


def save(
    directory: pathlib.Path,
    config: Mapping[str, Any],
    trials: pathlib.Path,
    assets: Mapping[str, bytes],
) -> None:
    """Writes the model directory of a search.

    Args:
        directory: where.
        config: the space, the architecture, its genotype, the winners, and what else
            tells how they were found.
        trials: the file of the trials, which is copied.
        assets: further files.
    """
    scratch = trials.with_name(f".{trials.name}.copy")
    scratch.unlink(missing_ok=True)
    try:
        trials_lib.copy(trials, scratch)
        winners = json.dumps(config["winners"], indent=2) + "\n"
        content = {TRIALS: scratch, WINNERS: winners, **assets}
        model_dir.save(
            directory, {"model": "automl", "kind": KIND, **config}, None, content
        )
    finally:
        scratch.unlink(missing_ok=True)
