"""What `predict` says of a search's result: its trials, or what architectures are.

tfdl predict --model_dir=RUN/search/model --option=top=10
echo "0 1 2 2 0 1" | tfdl predict --model_dir=RUN/search/model --input=-
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from tfdl.engine import errors, files, prediction
from tfdl.models.automl.search import drawing, loop, result
from tfdl.models.automl.search import trials as trials_lib


def predict(request: prediction.Request) -> Iterator[dict[str, Any]]:
    """Returns records: of architectures where some are given, else of the trials.

    Args:
        request: options `top` (the best so many trials; all by default, in order) and
            `search` (`"search"`, `"random"`, `"rescored"`: whose). With an input,
            one architecture a line; `pictures`, a folder, gets a PNG of each.

    Raises:
        UserError: an architecture does not parse: its line and position are named.
    """
    request.check_options("top", "search", "pictures")
    found = result.read(request.model_dir)
    if request.input:
        path = prediction.input_file(request.input)
        records = _decoded(found, path, files.read_text(path))
        if "pictures" in request.options:
            records = _drawn(records, pathlib.Path(request.options["pictures"]))
        return records
    trials = trials_lib.read(found.trials, request.option("search", "search"))
    if "top" in request.options:
        count = request.number("top", 10)
        done = [trial for trial in trials if trial.status == "done"]
        trials = sorted(done, key=lambda t: (-loop.value(t), t.number))[:count]
    return (dataclasses.asdict(trial) for trial in trials)


def _decoded(
    found: result.SearchResult, path: files.PathLike, text: str
) -> Iterator[dict[str, Any]]:
    parsed = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                parsed.append(found.space.parse(line))
            except errors.UserError as error:
                raise errors.UserError(f"{path}:{number}: {error}") from None
    return (
        {
            "architecture": found.space.format(arch),
            "description": found.space.describe(arch),
            "genotype": found.space.genotype(arch),
        }
        for arch in parsed
    )


def _drawn(
    records: Iterator[dict[str, Any]], folder: pathlib.Path
) -> Iterator[dict[str, Any]]:
    """Returns the records with the path of a picture each."""
    for number, record in enumerate(records, 1):
        picture = drawing.draw(record["genotype"])
        path = folder / f"{number:05d}.png"
        if picture is not None:
            files.atomic_write(path, picture)
        yield {**record, "picture": str(path) if picture is not None else None}
