"""Names of classes: a line each, `name` or `wnid<TAB>name`; ImageNet's come along."""

import pathlib
from typing import NamedTuple

from tfdl.engine import files
from tfdl.engine.errors import UserError

ASSET = "classes.txt"
MAX_BYTES = 64 << 20


class ClassName(NamedTuple):
    """What a class is called, and its WordNet id ("" without one)."""

    name: str
    wnid: str = ""


def imagenet() -> tuple[ClassName, ...]:
    """Returns ImageNet's 1000 classes, in the order of their WordNet ids."""
    return read(pathlib.Path(__file__).with_name("imagenet_classes.txt"))


def read(path: files.PathLike) -> tuple[ClassName, ...]:
    """Reads a file of names.

    Raises:
        UserError: an empty line, or a name that is there twice.
    """
    return parse(files.read_text(path, MAX_BYTES).splitlines(), str(path))


def parse(lines: list[str], source: str) -> tuple[ClassName, ...]:
    """Returns the classes of lines; a lone ImageNet WordNet id gets its name."""
    result, seen = [], set()
    for i, line in enumerate(lines, 1):
        wnid, tab, name = line.partition("\t")
        label = (
            ClassName(name.strip(), wnid.strip()) if tab else ClassName(line.strip())
        )
        if not label.name:
            raise UserError(f"{source}:{i}: a class without a name")
        if label in seen:
            raise UserError(f"{source}:{i}: the class {label.name!r} is there twice")
        seen.add(label)
        result.append(label)
    return tuple(result)


def named(labels: tuple[ClassName, ...]) -> tuple[ClassName, ...]:
    """Returns the classes with ImageNet's names for those that are bare ids."""
    if not any(_is_wnid(label.name) for label in labels):
        return labels
    known = {label.wnid: label for label in imagenet()}
    return tuple(known.get(label.name, label) for label in labels)


def text(labels: tuple[ClassName, ...]) -> str:
    """Returns the content of the file."""
    lines = (f"{x.wnid}\t{x.name}" if x.wnid else x.name for x in labels)
    return "\n".join(lines) + "\n"


def numbered(count: int) -> tuple[ClassName, ...]:
    """Returns names for classes of which nothing else is known."""
    return tuple(ClassName(f"class {i}") for i in range(count))


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()
