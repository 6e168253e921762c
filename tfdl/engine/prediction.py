"""What the verb `predict` hands to a model."""

import atexit
import dataclasses
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Mapping

from tfdl.engine import errors, files


@dataclasses.dataclass(frozen=True)
class Request:
    """A call of `predict`.

    Attributes:
        model_dir: the model directory.
        config: its configuration.
        input: a file or folder, or "-" for standard input; "" without any.
        output: where results go; "" is standard output.
        num_samples: of generators.
        seed: of generators.
        truncation: of generators; None is the model's own default.
        labels: of generators, and of conditional models.
        options: what else the model takes.
    """

    model_dir: pathlib.Path
    config: Mapping
    input: str = ""
    output: str = ""
    num_samples: int = 16
    seed: int = 0
    truncation: float | None = None
    labels: str = ""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def option(self, name: str, default: str, allowed: tuple[str, ...] = ()) -> str:
        """Returns an option; with `allowed`, one of those.

        Raises:
            UserError: it is another value.
        """
        value = self.options.get(name, default)
        if allowed and value not in allowed:
            raise errors.unknown(name, value, allowed)
        return value

    def number(self, name: str, default: int) -> int:
        """Returns an option that is a whole number above 0."""
        value = str(self.options.get(name, default))
        if not value.isdigit() or int(value) < 1:
            raise errors.UserError(
                f"--option={name}={value}: a number above 0 is needed"
            )
        return int(value)

    def check_options(self, *known: str) -> None:
        """Raises `UserError` for an option that is not among `known`."""
        for name in self.options:
            if name not in known:
                raise errors.unknown("option", name, known or ("none",))


def input_file(name: str, max_bytes: int | None = None) -> pathlib.Path:
    """Returns the file to read; standard input is first put into one.

    Raises:
        UserError: no input was named, or it is missing or empty.
    """
    if not name:
        raise errors.UserError("--input is needed: a file, or - for standard input")
    if name != "-":
        return files.require_file(name, max_bytes)
    data = sys.stdin.buffer.read()
    if not data.strip():
        raise errors.UserError("standard input is empty")
    suffix = ".jsonl" if data.lstrip()[:1] == b"{" else ".txt"
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path
