"""XNLI: natural-language inference in 15 languages (Conneau et al. 2018)."""

import pathlib

from tfdl.engine import errors, files
from tfdl.models.bert.examples import Example, read_lines

LABELS = ("contradiction", "entailment", "neutral")
LANGUAGES = tuple("ar bg de el en es fr hi ru sw th tr ur vi zh".split())


def read_train(folder: files.PathLike, language: str) -> list[Example]:
    """Reads `multinli/multinli.train.<language>.tsv`: premise, hypothesis, label."""
    check(language)
    path = pathlib.Path(folder) / "multinli" / f"multinli.train.{language}.tsv"
    found = []
    for number, line in read_lines(path):
        if number == 1:
            continue
        cells = line.split("\t")
        where = f"{path}:{number}"
        if len(cells) < 3:
            raise errors.UserError(f"{where}: {len(cells)} columns, 3 are needed")
        label = "contradiction" if cells[2] == "contradictory" else cells[2]
        found.append(_example(cells[0], cells[1], label, where, number))
    return found


def read_dev(
    folder: files.PathLike, language: str, name: str = "xnli.dev.tsv"
) -> list[Example]:
    """Reads one language of `xnli.dev.tsv` (or `xnli.test.tsv`).

    Raises:
        UserError: a row lacks columns, or the file has no row of the language.
    """
    check(language)
    path = pathlib.Path(folder) / name
    found = []
    for number, line in read_lines(path):
        if number == 1:
            continue
        cells = line.split("\t")
        where = f"{path}:{number}"
        if len(cells) < 8:
            raise errors.UserError(f"{where}: {len(cells)} columns, 8 are needed")
        if cells[0] == language:
            found.append(_example(cells[6], cells[7], cells[1], where, number))
    if not found:
        raise errors.UserError(f"{path} has no row of language {language!r}")
    return found


def check(language: str) -> None:
    """Raises `UserError` unless XNLI has the language."""
    if language not in LANGUAGES:
        raise errors.unknown("language of XNLI", language, LANGUAGES)


def _example(premise, hypothesis, label, where, number) -> Example:
    if label not in LABELS:
        raise errors.UserError(f"{where}: {errors.unknown('label', label, LABELS)}")
    return Example(premise, hypothesis, label, where, str(number))
