"""Texts that a person gives to predict."""

import json
import pathlib

from tfdl.engine import errors, files
from tfdl.engine.prediction import input_file

MAX_INPUT_BYTES = 2 << 30
SHOWN = 200  # characters of a text that records repeat


def read(name: str) -> list[str]:
    """Reads a file with a text a line, JSON lines, or a folder with a text a file.

    Args:
        name: the file, the folder, or "-" for standard input.

    Raises:
        UserError: it is missing or empty, or a line is no JSON with a `text`.
    """
    if name not in ("", "-") and pathlib.Path(name).is_dir():
        paths = sorted(pathlib.Path(name).glob("*.txt"))
        if not paths:
            raise errors.UserError(f"{name} has no *.txt")
        return [_text(path) for path in paths]
    path = input_file(name, MAX_INPUT_BYTES)
    lines = files.read_text(path, MAX_INPUT_BYTES).split("\n")
    lines = lines if lines[-1] else lines[:-1]
    if path.suffix != ".jsonl":
        return [line.removesuffix("\r") for line in lines]
    found = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise errors.UserError(f"{path}:{number}: {error.msg}") from None
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise errors.UserError(f"{path}:{number}: a field 'text' is needed")
        found.append(text)
    return found


def shortened(text: str) -> str:
    """Returns a text, cut short if it is long."""
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise errors.UserError(f"{path}: not valid UTF-8 ({error.reason})") from None
