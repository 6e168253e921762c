"""What an export says of itself, in `assets.extra/tfdl.json`."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import tfdl
from tfdl.engine import errors, exports, files

NAME = pathlib.PurePath("assets.extra") / "tfdl.json"
FORMAT = 1
MAX_BYTES = 1 << 20
MAX_WORD = 200


@dataclasses.dataclass(frozen=True)
class Description:
    """The model's flag name, its documentation and its measured metrics."""

    model: str
    card: exports.Card
    metrics: Mapping[str, float | str]


def metrics(model_dir: files.PathLike) -> dict[str, float | str]:
    """Returns what `tfdl evaluate` measured of a model directory, {} if nothing.

    Numbers, and words such as the name of the network that measured. What is longer,
    lists for example, is left out.

    Raises:
        UserError: `evaluation.json` is damaged.
    """
    path = pathlib.Path(model_dir) / "evaluation.json"
    if not path.is_file():
        return {}
    found = _read_object(path)
    return {name: value for name, value in found.items() if _is_metric(value)}


def write(folder: pathlib.Path, description: Description) -> None:
    """Writes the description into a SavedModel's folder."""
    content = {
        "format": FORMAT,
        "tfdl_version": tfdl.__version__,
        "model": description.model,
        "card": description.card.to_dict(),
        "metrics": dict(description.metrics),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    files.atomic_write(folder / NAME, text + "\n")


def read(folder: files.PathLike) -> Description | None:
    """Returns the description in a SavedModel's folder; None if it has none.

    Raises:
        UserError: the file is not one that `write` wrote.
    """
    path = pathlib.Path(folder) / NAME
    if not path.is_file():
        return None
    content = _read_object(path)
    card, model = content.get("card"), content.get("model")
    if content.get("format") != FORMAT or not isinstance(model, str):
        raise errors.UserError(f"{path} is not a description of this version of tfdl")
    return Description(
        model, _card(path, card), _metrics(path, content.get("metrics", {}))
    )


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(files.read_text(path, max_bytes=MAX_BYTES))
    except (json.JSONDecodeError, RecursionError) as error:
        raise errors.UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise errors.UserError(f"{path} holds no JSON object")
    return content


def _metrics(path: pathlib.Path, values: Any) -> dict[str, float | str]:
    if not isinstance(values, dict) or not all(map(_is_metric, values.values())):
        raise errors.UserError(f"{path}: metrics have to be numbers or words by name")
    return dict(values)


def _is_metric(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_WORD
    return isinstance(value, int | float)


def _card(path: pathlib.Path, values: Any) -> exports.Card:
    try:
        card = exports.Card(**values)
    except TypeError as error:
        raise errors.UserError(f"{path}: the card is damaged ({error})") from None
    for field in dataclasses.fields(card):
        value = getattr(card, field.name)
        texts = value.items() if isinstance(value, dict) else [(value, value)]
        wanted = bool if field.name == "fine_tunable" else str
        good = isinstance(value, dict) == (field.name in ("inputs", "outputs"))
        if not good or not all(isinstance(x, wanted) for pair in texts for x in pair):
            raise errors.UserError(f"{path}: {field.name} of the card is damaged")
    return card
