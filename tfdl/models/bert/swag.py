"""SWAG: which of four endings goes on (Zellers et al. 2018; BERT paper section 4.4)."""

import pathlib
from typing import Any, NamedTuple

from tfdl.engine import errors, files
from tfdl.models.bert import features
from tfdl.models.bert.examples import read_rows, short
from tfdl.text.wordpiece import BertTokenizer

ENDINGS = 4
# The official columns: the sentence before, the beginning of the next, its endings.
CONTEXT, START, LABEL = "sent1", "sent2", "label"
ENDING_COLUMNS = tuple(f"ending{i}" for i in range(ENDINGS))


class SwagExample(NamedTuple):
    """A sentence, the beginning of the next one, and four endings of that.

    `label` is the number of the right ending, None where it is not known. `where` is
    the file and line it came from.
    """

    context: str
    start: str
    endings: tuple[str, ...]
    label: int | None
    where: str


def read(path: files.PathLike, need_label: bool = True) -> list[SwagExample]:
    """Reads an official .csv (train.csv, val.csv, test.csv), or a .jsonl.

    Args:
        path: the file. A row of a .jsonl has `context`, `start`, `endings` (a list of
            four) and `label`, as `predict` takes them.
        need_label: False reads no labels, as the official test set has none.

    Raises:
        UserError: a column is missing, or a label is not 0 to 3; file and line are
            named.
    """
    found = []
    for number, row in read_rows(path):
        where = f"{path}:{number}"
        texts = _texts(row, where)
        label = _label(row, where) if need_label else None
        found.append(SwagExample(texts[0], texts[1], tuple(texts[2:]), label, where))
    if not found:
        raise errors.UserError(f"{pathlib.Path(path)} has no rows")
    return found


def convert(
    example: SwagExample, tokenizer: BertTokenizer, length: int
) -> list[dict[str, list[int]]]:
    """Returns unpadded features of the four sequences.

    Each is [CLS] context [SEP] start and an ending [SEP], cut as any pair of texts.
    """
    return [
        features.convert(
            example.context, f"{example.start} {ending}".strip(), tokenizer, length
        )
        for ending in example.endings
    ]


def _texts(row: dict[str, Any], where: str) -> list[str]:
    if "endings" in row:
        endings = row["endings"]
        if not isinstance(endings, list) or len(endings) != ENDINGS:
            raise errors.UserError(
                f"{where}: a list of {ENDINGS} endings is needed, got {short(endings)}"
            )
        texts = [row.get("context"), row.get("start", ""), *endings]
    else:
        columns = (CONTEXT, START, *ENDING_COLUMNS)
        missing = [name for name in columns if name not in row]
        if missing:
            raise errors.UserError(
                f"{where}: no column {missing[0]!r} (there is "
                f"{', '.join(short(name, 30) for name in list(row)[:20])})"
            )
        texts = [row[name] for name in columns]
    for text in texts:
        if not isinstance(text, str):
            raise errors.UserError(f"{where}: a text is needed, got {short(text)}")
    return texts


def _label(row: dict[str, Any], where: str) -> int:
    text = str(row.get(LABEL)).strip()
    if text not in map(str, range(ENDINGS)):
        given = "no column" if LABEL not in row else short(row[LABEL])
        raise errors.UserError(
            f"{where}: a label from 0 to {ENDINGS - 1} is needed, got {given}"
        )
    return int(text)
