"""Named entities: CoNLL-2003's columns as windows of tokens (paper section 5.3).

A word's tag is predicted at its first token; its other tokens have no label.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfdl.engine import errors, files
from tfdl.metrics import spans
from tfdl.models.bert.examples import read_lines
from tfdl.text.wordpiece import BertTokenizer

DOCUMENT_START = "-DOCSTART-"

_COLUMNS = re.compile("[ \t]+")


class Sentence(NamedTuple):
    """Words with their tags, if they are known.

    Attributes:
        words: the words.
        tags: one per word, or none at all.
        document: number of the document that it is from.
        where: file and line of the first word; the others are on the lines after it.
    """

    words: Sequence[str]
    tags: Sequence[str] = ()
    document: int = 0
    where: str = ""


class Window(NamedTuple):
    """Tokens with the words that are labelled in them.

    Attributes:
        features: `token_ids` and `segment_ids`, int32 [T], not padded; with labels
            also `label_ids` and `label_weights` (1 at first tokens of words labelled
            here, 0 elsewhere).
        sentence: int32 [W], indices of the labelled words' sentences.
        word: int32 [W], their indices in the sentences.
        position: int32 [W], where their first tokens stand in `token_ids`.
    """

    features: dict[str, np.ndarray]
    sentence: np.ndarray
    word: np.ndarray
    position: np.ndarray


def read_sentences(path: files.PathLike, need_tags: bool = True) -> list[Sentence]:
    """Reads a file of columns: the word first, its tag last.

    Columns are separated by spaces or tabs, sentences by blank lines; a line
    `-DOCSTART- ...` begins a document. In a file without such lines every sentence is
    a document.

    Args:
        path: the file.
        need_tags: whether there is a column of tags; without, only the first column
            is read.

    Raises:
        UserError: the number of columns changes, a tag is of no known scheme, or
            there are no words; file and line are named.
    """
    found: list[Sentence] = []
    rows: list[tuple[int, str, str]] = []
    documents, columns = 0, None
    for number, line in itertools.chain(read_lines(path), [(0, "")]):
        cells = _COLUMNS.split(line.strip(" \t"))
        starts_document = cells[0] == DOCUMENT_START
        if starts_document or cells == [""]:
            if rows:
                numbers, words, tags = zip(*rows, strict=True)
                tags = tags if need_tags else ()
                where = f"{path}:{numbers[0]}"
                found.append(Sentence(words, tags, documents, where))
                rows = []
            documents += starts_document
            continue
        columns = columns or len(cells)
        if need_tags:
            _check_row(cells, columns, f"{path}:{number}")
        rows.append((number, cells[0], cells[-1]))
    if not found:
        raise errors.UserError(f"{path} has no words")
    if not documents:
        found = [row._replace(document=i) for i, row in enumerate(found)]
    return found


def find_labels(sentences: Iterable[Sentence]) -> list[str]:
    """Returns all tags, "O" first, the others sorted."""
    tags = {tag for sentence in sentences for tag in sentence.tags}
    return [spans.OUTSIDE, *sorted(tags - {spans.OUTSIDE})]


def make_windows(
    sentences: Sequence[Sentence],
    tokenizer: BertTokenizer,
    max_seq_length: int = 128,
    labels: Sequence[str] | None = None,
    document_context: bool = False,
) -> Iterator[Window]:
    """Returns the windows of sentences, each word labelled in exactly one of them.

    What is longer than a window is read in several, half of one apart, and a word is
    labelled where it has most tokens around it.

    Args:
        sentences: the sentences.
        tokenizer: BERT's.
        max_seq_length: the longest window, [CLS] and [SEP] included.
        labels: the tags in the order of their ids; None makes no label features.
        document_context: read whole documents instead of single sentences, as the
            paper does.

    Raises:
        UserError: a tag is not among the labels, or max_seq_length has no room.
    """
    if max_seq_length < 3:
        raise errors.UserError(
            f"max_seq_length {max_seq_length} has no room for [CLS], a word and [SEP]"
        )
    label_ids = None
    if labels is not None:
        label_ids = {label: i for i, label in enumerate(labels)}
        _check_labels(sentences, label_ids)
    return _windows(sentences, tokenizer, max_seq_length, label_ids, document_context)


def tag_words(
    sentences: Sequence[Sentence],
    windows: Iterable[Window],
    predictions: Iterable[Sequence[int]],
    labels: Sequence[str],
) -> list[list[str]]:
    """Returns the predicted tags of all words, sentence by sentence.

    Args:
        sentences: the sentences.
        windows: their windows.
        predictions: for each window the label id at each token, padding or not.
        labels: the tags in the order of their ids.

    Raises:
        ValueError: a word is in none of the windows.
    """
    tags: list[list[str]] = [[""] * len(sentence.words) for sentence in sentences]
    for window, ids in zip(windows, predictions, strict=True):
        for place, word, position in zip(
            window.sentence, window.word, window.position, strict=True
        ):
            tags[place][word] = labels[int(ids[position])]
    for sentence, found in zip(sentences, tags, strict=True):
        if "" in found:
            word = sentence.words[found.index("")]
            raise ValueError(f"{sentence.where}: {word!r} is in none of the windows")
    return tags


def write_predictions(
    path: files.PathLike,
    sentences: Sequence[Sentence],
    predicted: Sequence[Sequence[str]],
) -> None:
    """Writes lines `word gold predicted` (`word predicted` without gold tags).

    This is what conlleval reads; a blank line follows each sentence.
    """
    lines = []
    for sentence, tags in zip(sentences, predicted, strict=True):
        columns = [sentence.words, sentence.tags, tags]
        rows = zip(*(column for column in columns if column), strict=True)
        lines += [" ".join(row) for row in rows]
        lines.append("")
    files.atomic_write(path, "\n".join(lines) + "\n")


def _check_row(cells: list[str], columns: int, where: str) -> None:
    if len(cells) < 2:
        raise errors.UserError(
            f"{where}: a word and a tag are needed, got {cells[0][:60]!r}"
        )
    if len(cells) != columns:
        raise errors.UserError(
            f"{where}: {len(cells)} columns, the lines before have {columns}"
        )
    try:
        spans.split_tag(cells[-1])
    except errors.UserError as error:
        raise errors.UserError(f"{where}: {error}") from None


def _check_labels(sentences: Sequence[Sentence], label_ids: Mapping[str, int]) -> None:
    for sentence in sentences:
        for i, tag in enumerate(sentence.tags):
            if tag not in label_ids:
                path, _, line = sentence.where.rpartition(":")
                where = f"{path}:{int(line) + i}: " if path else ""
                message = errors.unknown("tag", tag[:60], label_ids)
                raise errors.UserError(f"{where}{message}")


def _windows(
    sentences: Sequence[Sentence],
    tokenizer: BertTokenizer,
    max_seq_length: int,
    label_ids: Mapping[str, int] | None,
    document_context: bool,
) -> Iterator[Window]:
    def unit(numbered):
        index, sentence = numbered
        return sentence.document if document_context else index

    room = max_seq_length - 2
    for _, group in itertools.groupby(enumerate(sentences), unit):
        places = [(i, j) for i, row in group for j in range(len(row.words))]
        # A word without tokens, of control characters, still needs a tag, and one of
        # more tokens than there is room for is cut.
        pieces = [
            tokenizer.encode(sentences[i].words[j])[:room] or [tokenizer.unk_id]
            for i, j in places
        ]
        offsets = np.cumsum([0, *(len(piece) for piece in pieces)])
        parts = _parts(offsets, room)
        owner = _most_context(offsets, parts)
        for number, (start, stop) in enumerate(parts):
            mine = start + np.flatnonzero(owner[start:stop] == number)
            if not len(mine):
                continue
            ids = [i for piece in pieces[start:stop] for i in piece]
            features = {
                "token_ids": np.array(
                    [tokenizer.cls_id, *ids, tokenizer.sep_id], np.int32
                )
            }
            features["segment_ids"] = np.zeros(len(ids) + 2, np.int32)
            labelled = np.array([places[k] for k in mine], np.int32)
            position = (1 + offsets[mine] - offsets[start]).astype(np.int32)
            if label_ids is not None:
                tags = [label_ids[sentences[i].tags[j]] for i, j in labelled]
                features |= _label_features(tags, position, len(ids) + 2)
            yield Window(features, labelled[:, 0], labelled[:, 1], position)


def _label_features(
    tags: Sequence[int], position: np.ndarray, length: int
) -> dict[str, np.ndarray]:
    label_ids = np.zeros(length, np.int32)
    weights = np.zeros(length, np.int32)
    label_ids[position] = tags
    weights[position] = 1
    return {"label_ids": label_ids, "label_weights": weights}


def _parts(offsets: np.ndarray, room: int) -> list[tuple[int, int]]:
    """Returns the (start, stop) words of windows of at most `room` tokens.

    Args:
        offsets: [W + 1], tokens before each word; no word has more than `room`.
        room: tokens.
    """
    words = len(offsets) - 1
    parts = []
    start = 0
    while True:
        stop = int(np.searchsorted(offsets, offsets[start] + room, side="right")) - 1
        parts.append((start, stop))
        if stop == words:
            return parts
        half = int(np.searchsorted(offsets, offsets[start] + max(room // 2, 1)))
        start = min(max(half, start + 1), stop)


def _most_context(offsets: np.ndarray, parts: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns for each word the part with most tokens on its poorer side."""
    owner = np.zeros(len(offsets) - 1, np.int64)
    best = np.full(len(offsets) - 1, -1)
    for number, (start, stop) in enumerate(parts):
        left = offsets[start:stop] - offsets[start]
        right = offsets[stop] - offsets[start + 1 : stop + 1]
        context = np.minimum(left, right)
        better = context > best[start:stop]
        best[start:stop][better] = context[better]
        owner[start:stop][better] = number
    return owner
