"""XNLI: natural-language inference in 15 languages (Conneau et al. 2018).

Columns and files as in google-research/bert run_classifier.py: the training set is
MultiNLI, translated; development and test sets hold all languages in one file.
"""

import pathlib
from collections.abc import Iterator, Mapping

from tfdl.engine import errors, files
from tfdl.models.bert.examples import Example, read_lines, unknown_label

LABELS = ("contradiction", "entailment", "neutral")
# In the order of the XNLI paper's tables.
LANGUAGES = tuple("en fr es de el bg ru tr ar vi th zh hi sw ur".split())


def read_train(folder: files.PathLike, language: str) -> list[Example]:
    """Reads `multinli/multinli.train.<language>.tsv`: premise, hypothesis, label.

    Args:
        folder: where `multinli` lies, or the archive's XNLI-MT-1.0.
        language: one of `LANGUAGES`.

    Raises:
        UserError: the file is missing, or a row lacks columns or has a label outside
            of the set; file and line are named.
    """
    check(language)
    name = f"multinli/multinli.train.{language}.tsv"
    path = _find(folder, name, f"XNLI-MT-1.0/{name}")
    found = []
    for number, cells in _rows(path, 3):
        label = "contradiction" if cells[2] == "contradictory" else cells[2]
        found.append(_example(cells[0], cells[1], label, f"{path}:{number}"))
    if not found:
        raise errors.UserError(f"{path} has no rows")
    return found


def read_dev(
    folder: files.PathLike, language: str, name: str = "xnli.dev.tsv"
) -> list[Example]:
    """Reads one language of `xnli.dev.tsv` (or `xnli.test.tsv`).

    Raises:
        UserError: a row lacks columns, or the file has no row of the language.
    """
    check(language)
    found = read_languages(folder, name)
    if language not in found:
        path = pathlib.Path(folder) / name
        raise errors.UserError(f"{path} has no row of language {language!r}")
    return found[language]


def read_languages(
    folder: files.PathLike, name: str = "xnli.dev.tsv"
) -> dict[str, list[Example]]:
    """Reads every language of `xnli.dev.tsv` (or `xnli.test.tsv`).

    Args:
        folder: where the file lies, or the archive's XNLI-1.0.
        name: the file.

    Returns:
        Language -> its examples; languages without rows are left out.

    Raises:
        UserError: a row lacks columns, or has a language or a label outside of the
            set; file and line are named.
    """
    path = _find(folder, name, f"XNLI-1.0/{name}")
    found: dict[str, list[Example]] = {language: [] for language in LANGUAGES}
    for number, cells in _rows(path, 8):
        where = f"{path}:{number}"
        if cells[0] not in found:
            allowed = ", ".join(LANGUAGES)
            raise errors.UserError(
                f"{where}: no language {cells[0][:20]!r} (allowed: {allowed})"
            )
        found[cells[0]].append(_example(cells[6], cells[7], cells[1], where))
    return {language: rows for language, rows in found.items() if rows}


def read_all(folder: files.PathLike, name: str = "xnli.dev.tsv") -> list[Example]:
    """Reads every language, one after the other; `guid` begins with its name.

    One model measured on all of them shows what it knows of languages it was not
    fine-tuned in.
    """
    return [
        row._replace(guid=f"{language}-{row.guid}")
        for language, rows in read_languages(folder, name).items()
        for row in rows
    ]


def table(accuracies: Mapping[str, float]) -> str:
    """Returns accuracies as two lines of percentages, in the paper's order."""
    names = [name for name in (*LANGUAGES, "average") if name in accuracies]
    numbers = [f"{100 * accuracies[name]:.1f}" for name in names]
    columns = [
        (name.rjust(len(number)), number.rjust(len(name)))
        for name, number in zip(names, numbers, strict=True)
    ]
    return "".join("  ".join(line) + "\n" for line in zip(*columns, strict=True))


def check(language: str) -> None:
    """Raises `UserError` unless XNLI has the language."""
    if language not in LANGUAGES:
        raise errors.unknown("language of XNLI", language, LANGUAGES)


def _find(folder: files.PathLike, *names: str) -> pathlib.Path:
    for name in names:
        if (pathlib.Path(folder) / name).is_file():
            return pathlib.Path(folder) / name
    raise errors.UserError(
        f"{pathlib.Path(folder) / names[0]}: no such file, nor {names[1]} there"
    )


def _rows(path: pathlib.Path, least: int) -> Iterator[tuple[int, list[str]]]:
    """Yields line numbers and cells, without the header."""
    for number, line in read_lines(path):
        if number == 1 or not line:
            continue
        cells = line.split("\t")
        if len(cells) < least:
            raise errors.UserError(
                f"{path}:{number}: {len(cells)} columns, {least} are needed"
            )
        yield number, cells


def _example(premise: str, hypothesis: str, label: str, where: str) -> Example:
    if label not in LABELS:
        raise unknown_label(label, LABELS, where)
    return Example(premise, hypothesis, label, where, where.rpartition(":")[2])
