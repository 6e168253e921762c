"""Examples of classification and regression, and reading them from tables."""

import csv
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tfdl.engine import errors, files

MAX_FILE_BYTES = 8 << 30
MAX_LINE_BYTES = 64 << 20
# The usual names of columns, in any case; the first that is there is taken.
TEXT_NAMES = (
    "text", "sentence", "text_a", "sentence1", "question", "question1", "premise",
)  # fmt: skip
PAIR_NAMES = ("text_b", "sentence2", "question2", "hypothesis", "passage")
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
        UserError: the file is missing or empty, or a line is not UTF-8 or endless.
    """
    path = files.require_file(path, MAX_FILE_BYTES)
    with open(path, "rb") as file:
        lines = iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")
        for number, raw in enumerate(lines, 1):
            if len(raw) > MAX_LINE_BYTES:
                raise errors.UserError(
                    f"{path}:{number}: a line of over {MAX_LINE_BYTES:,} bytes"
                )
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise errors.UserError(
                    f"{path}:{number}: not valid UTF-8 ({error.reason})"
                ) from None
            yield number, line.rstrip("\r\n")


def read_rows(path: files.PathLike) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, row by column name) of a table.

    Args:
        path: a .tsv (without quoting) or .csv (with) that has a header line, a
            .jsonl, or a .txt with a text per line (its column is `text`). Blank
            lines are passed over.

    Raises:
        UserError: the file is of another kind or a row is malformed; file and line
            are named.
    """
    path = pathlib.Path(path)
    kind = path.suffix.lower()
    if kind == ".txt":
        for number, line in read_lines(path):
            if line.strip():
                yield number, {"text": line}
    elif kind in (".jsonl", ".json", ".ndjson"):
        yield from _json_rows(path)
    elif kind == ".tsv":
        cells = ((number, line.split("\t")) for number, line in read_lines(path))
        yield from _named(path, cells)
    elif kind == ".csv":
        yield from _named(path, _csv_cells(path))
    else:
        raise errors.UserError(
            f"{path}: a .tsv, .csv, .jsonl or .txt file is needed, got {path.suffix!r}"
        )


def read_table(
    path: files.PathLike,
    text_a: str | None = None,
    text_b: str | None = None,
    label: str | None = None,
    kind: str = "classification",
    need_label: bool = True,
) -> list[Example]:
    """Reads examples from a table, as `read_rows`.

    Args:
        path: the file.
        text_a: column or key of the (first) text; by default the first present of
            text, sentence, text_a, ...
        text_b: of the second text, if any; "" for none.
        label: of the label.
        kind: `"classification"`, `"regression"` (a number) or `"multilabel"` (names
            separated by "|", or a JSON list).
        need_label: False reads no labels, whether there are any or not.

    Raises:
        UserError: a column is missing or a value of the wrong kind; the message
            names file and line.
    """
    found = []
    has_header = pathlib.Path(path).suffix.lower() in (".tsv", ".csv")
    known: dict[tuple[str, ...], tuple[str, str | None, str | None]] = {}
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        names = tuple(row)
        if names not in known:
            at = f"{path}:1" if has_header else where
            known[names] = (
                _column(names, text_a, TEXT_NAMES, "text_a", at),
                _optional_column(names, text_b, PAIR_NAMES, "text_b", at),
                _column(names, label, LABEL_NAMES, "label", at) if need_label else None,
            )
        first, second, target = known[names]
        pair = row[second] if second else None
        if not isinstance(row[first], str) or not isinstance(pair, str | None):
            wrong = pair if isinstance(row[first], str) else row[first]
            raise errors.UserError(f"{where}: a text is needed, got {short(wrong)}")
        value = parse_label(row[target], kind, where) if target else None
        found.append(
            Example(row[first], pair, value, where, str(row.get("id", number)))
        )
    if not found:
        raise errors.UserError(f"{path} has no rows")
    return found


def parse_label(value: Any, kind: str, where: str) -> Any:
    """Returns a label as its kind wants it: a name, a float, a tuple of names.

    Raises:
        UserError: the value is of another kind, or empty.
    """
    if kind == "regression":
        return parse_number(value, where)
    if kind == "multilabel":
        parts = value if isinstance(value, list) else [value]
        if not isinstance(value, list) and isinstance(value, str):
            parts = [part for part in value.split("|") if part.strip()]
        return tuple(dict.fromkeys(_name(part, where) for part in parts))
    return _name(value, where)


def parse_number(value: Any, where: str) -> float:
    """Returns a finite number.

    Raises:
        UserError: it is none.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise errors.UserError(
            f"{where}: the label has to be a number, got {short(value)}"
        )
    return number


def label_set(examples: Sequence[Example], kind: str) -> list[str]:
    """Returns the label names that appear, sorted; numbers by their size.

    Raises:
        UserError: there is nothing to tell apart.
    """
    if kind == "multilabel":
        names = {name for example in examples for name in example.label}
    else:
        names = {example.label for example in examples}
    least = 1 if kind == "multilabel" else 2
    if len(names) < least:
        path = examples[0].where.rpartition(":")[0]
        only = f"only the label {short(names.pop())}" if names else "no label"
        raise errors.UserError(f"{path} has {only}, at least {least} are needed")
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (len(name.lstrip("0")), name))
    return sorted(names)


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
                raise unknown_label(name, labels, example.where)
        ids = [known[name] for name in names]
        if kind == "multilabel":
            row = [0.0] * len(labels)
            for i in ids:
                row[i] = 1.0
            result.append(row)
        else:
            result.append(ids[0])
    return result


def unknown_label(name: str, labels: Iterable[str], where: str) -> errors.UserError:
    """Returns the error for a label outside of the set."""
    return errors.UserError(f"{where}: {errors.unknown('label', name[:60], labels)}")


def short(value: Any, most: int = 60) -> str:
    """Returns a value as a message can show it."""
    text = repr(value[:most] if isinstance(value, str) else value)
    return text if len(text) <= most + 2 else text[:most] + "..."


def _json_rows(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise errors.UserError(
                f"{path}:{number}: not a JSON object per line: {error.msg}"
            ) from None
        except (RecursionError, ValueError):
            raise errors.UserError(f"{path}:{number}: not plausible JSON") from None
        if not isinstance(row, dict):
            raise errors.UserError(
                f"{path}:{number}: a JSON object per line is needed, got {short(row)}"
            )
        yield number, row


def _csv_cells(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    # Line ends come back: a quoted cell may have some inside.
    reader = csv.reader((line + "\n" for _, line in read_lines(path)), strict=True)
    first = 1
    try:
        for cells in reader:
            yield first, cells
            first = reader.line_num + 1
    except csv.Error as error:
        raise errors.UserError(f"{path}:{first}: not a CSV row: {error}") from None


def _named(
    path: pathlib.Path, rows: Iterable[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    header: list[str] | None = None
    for number, cells in rows:
        if not cells or (len(cells) == 1 and not cells[0].strip()):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            twice = [name for i, name in enumerate(header) if name in header[:i]]
            if twice:
                raise errors.UserError(
                    f"{path}:{number}: the column {short(twice[0])} is there twice"
                )
            continue
        if len(cells) != len(header):
            raise errors.UserError(
                f"{path}:{number}: {len(cells)} columns, the header has {len(header)}"
            )
        yield number, dict(zip(header, cells, strict=True))


def _optional_column(names, given, usual, what, where) -> str | None:
    if given:
        return _column(names, given, usual, what, where)
    if given == "":
        return None
    lower = {name.lower(): name for name in names}
    return next((lower[name] for name in usual if name in lower), None)


def _column(names, given, usual, what, where) -> str:
    shown = ", ".join(short(name, 30).strip("'\"") for name in names[:20])
    if given:
        if given not in names:
            raise errors.UserError(f"{where}: no column {given!r} (there is {shown})")
        return given
    found = _optional_column(names, None, usual, what, where)
    if found is None:
        raise errors.UserError(
            f"{where}: none of the columns {', '.join(usual)} (there is "
            f"{shown or 'nothing'}); name yours with {what}"
        )
    return found


def _name(value: Any, where: str) -> str:
    if isinstance(value, str | int | float) and str(value).strip():
        return str(value).strip()
    raise errors.UserError(f"{where}: a label is needed, got {short(value)}")
