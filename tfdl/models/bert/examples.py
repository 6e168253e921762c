"""Examples of classification and regression, and reading them from tables."""

import csv
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tfdl.engine import errors, files

MAX_FILE_BYTES = 8 << 30
TEXT_NAMES = ("text", "sentence", "text_a", "sentence1", "question", "premise")
PAIR_NAMES = ("text_b", "sentence2", "hypothesis", "passage")
LABEL_NAMES = ("label", "labels", "class", "score")


class Example(NamedTuple):
    """A text or a pair of texts with what is to be predicted.

    `label` is None where there is none, a name, a number (regression) or a tuple
    of names (several labels at once). `where` is the file and line it came from.
    """

    text_a: str
    text_b: str | None
    label: Any
    where: str
    guid: str


def read_lines(path: files.PathLike) -> Iterator[tuple[int, str]]:
    """Yields (line number, line) of a UTF-8 file, without the line ends.

    Raises:
        UserError: the file is missing, empty, or a line is not UTF-8.
    """
    path = files.require_file(path, MAX_FILE_BYTES)
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise errors.UserError(
                    f"{path}:{number}: not valid UTF-8 ({error.reason})"
                ) from None
            yield number, line.rstrip("\r\n")


def read_table(
    path: files.PathLike,
    text_a: str | None = None,
    text_b: str | None = None,
    label: str | None = None,
    kind: str = "classification",
    need_label: bool = True,
) -> list[Example]:
    """Reads examples from a .tsv or .csv with a header line, a .jsonl, or a .txt.

    Args:
        path: the file; a .txt has one text per line.
        text_a: column or key of the (first) text; by default the first present of
            text, sentence, text_a, ...
        text_b: of the second text, if any; "" for none.
        label: of the label.
        kind: `"classification"`, `"regression"` (a number) or `"multilabel"` (names
            separated by "|", or a JSON list).
        need_label: whether a missing label is an error.

    Raises:
        UserError: a column is missing or a value of the wrong kind; the message
            names file and line.
    """
    path = pathlib.Path(path)
    found = []
    names: dict[str, str | None] | None = None
    for number, row in _rows(path):
        where = f"{path}:{number}"
        if names is None:
            names = _columns(row, where, text_a, text_b, label, need_label)
        missing = [n for n in names.values() if n is not None and row.get(n) is None]
        if missing:
            raise errors.UserError(
                f"{where}: no {missing[0]!r} (there is {', '.join(row) or 'nothing'})"
            )
        value = None
        if names["label"] is not None:
            value = parse_label(row[names["label"]], kind, where)
        pair = row[names["text_b"]] if names["text_b"] else None
        text = row[names["text_a"]]
        if not isinstance(text, str) or not isinstance(pair, str | None):
            raise errors.UserError(f"{where}: a text is needed, got {text!r}"[:200])
        found.append(Example(text, pair, value, where, str(row.get("id", number))))
    if not found:
        raise errors.UserError(f"{path} has no rows")
    return found


def parse_label(value: Any, kind: str, where: str) -> Any:
    """Returns a label as its kind wants it: a name, a float, a tuple of names."""
    if kind == "regression":
        try:
            return float(value)
        except (TypeError, ValueError):
            raise errors.UserError(
                f"{where}: the label has to be a number, got {value!r}"
            ) from None
    if kind == "multilabel":
        parts = value if isinstance(value, list) else str(value).split("|")
        return tuple(str(part) for part in parts if str(part))
    return str(value)


def label_set(examples: Sequence[Example], kind: str) -> list[str]:
    """Returns the label names that appear, sorted."""
    if kind == "multilabel":
        return sorted({name for example in examples for name in example.label})
    return sorted({example.label for example in examples})


def label_ids(examples: Sequence[Example], labels: Sequence[str], kind: str) -> list:
    """Returns ids, floats (regression) or 0/1 rows (multilabel).

    Raises:
        UserError: a label is not in the set; file and line are named.
    """
    if kind == "regression":
        return [example.label for example in examples]
    known = {label: i for i, label in enumerate(labels)}
    result: list[Any] = []
    for example in examples:
        names = example.label if kind == "multilabel" else (example.label,)
        for name in names:
            if name not in known:
                raise errors.UserError(
                    f"{example.where}: {errors.unknown('label', name, labels)}"
                )
        ids = [known[name] for name in names]
        if kind == "multilabel":
            row = [0.0] * len(labels)
            for i in ids:
                row[i] = 1.0
            result.append(row)
        else:
            result.append(ids[0])
    return result


def _rows(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = ((n, line) for n, line in read_lines(path) if line.strip())
    if path.suffix == ".txt":
        for number, line in lines:
            yield number, {"text": line}
    elif path.suffix in (".jsonl", ".json", ".ndjson"):
        for number, line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise errors.UserError(f"{path}:{number}: {error.msg}") from None
            if not isinstance(row, dict):
                raise errors.UserError(f"{path}:{number}: a JSON object is needed")
            yield number, row
    elif path.suffix in (".tsv", ".csv"):
        yield from _separated(path, lines)
    else:
        raise errors.UserError(
            f"{path}: a .tsv, .csv, .jsonl or .txt file is needed, got {path.suffix!r}"
        )


def _separated(path, lines) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".tsv":
        split = lambda line: line.split("\t")  # noqa: E731
    else:
        csv.field_size_limit(1 << 28)
        split = lambda line: next(csv.reader([line]))  # noqa: E731
    header: list[str] | None = None
    for number, line in lines:
        cells = split(line)
        if header is None:
            header = [cell.strip() for cell in cells]
            continue
        if len(cells) < len(header):
            raise errors.UserError(
                f"{path}:{number}: {len(cells)} columns, the header has {len(header)}"
            )
        yield number, dict(zip(header, cells, strict=False))


def _columns(row, where, text_a, text_b, label, need_label) -> dict[str, str | None]:
    def choose(given, usual, needed):
        if given:
            if given not in row:
                raise errors.UserError(
                    f"{where}: {errors.unknown('column', given, row)}"
                )
            return given
        present = [name for name in usual if name in row]
        if needed and not present:
            raise errors.UserError(
                f"{where}: none of the columns {', '.join(usual)} (it has "
                f"{', '.join(row)}); name yours"
            )
        return present[0] if present else None

    return {
        "text_a": choose(text_a, TEXT_NAMES, True),
        "text_b": None if text_b == "" else choose(text_b, PAIR_NAMES, False),
        "label": choose(label, LABEL_NAMES, need_label),
    }
