"""SQuAD's questions as overlapping windows of tokens (run_squad.py).

A window is `[CLS] question [SEP] part of the passage [SEP]`; long passages give
several windows, each `doc_stride` tokens after the one before (paper section 4.2).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfdl.engine import errors, files
from tfdl.metrics import squad
from tfdl.metrics.squad import Question
from tfdl.text.wordpiece import BertTokenizer

FIRST_UNIQUE_ID = 1_000_000_000

# White space as in the original, which leaves e.g. no-break spaces inside words.
_WORD = re.compile("[^ \t\r\n\u202f]+")


class SquadExample(NamedTuple):
    """A question about a passage.

    `words` is the passage split at white space; the questions of a passage share one
    list. `start` and `end` (inclusive) are the words of the answer, -1 where there is
    none or where it is not known.
    """

    id: str
    question: str
    words: Sequence[str]
    answer: str = ""
    start: int = -1
    end: int = -1
    is_impossible: bool = False


class Window(NamedTuple):
    """A question with a part of its passage.

    Attributes:
        unique_id: counts the windows from 1000000000, as in the original.
        example_index: which example it belongs to.
        doc_span_index: which window of the example it is.
        features: `token_ids` and `segment_ids`, int32 [T], not padded.
        doc_offset: position in `token_ids` of the passage's first token here.
        word_of: int32 [L], the word that each of the passage's tokens is from.
        is_max_context: bool [L], whether no other window shows more of the token's
            surroundings.
        start_position: of the answer in `token_ids`; 0 ([CLS]) if it is not in this
            window, does not exist or is not known.
        end_position: inclusive; 0 likewise.
    """

    unique_id: int
    example_index: int
    doc_span_index: int
    features: dict[str, np.ndarray]
    doc_offset: int
    word_of: np.ndarray
    is_max_context: np.ndarray
    start_position: int = 0
    end_position: int = 0


def split_words(text: str) -> tuple[list[str], np.ndarray]:
    """Returns the words of a passage and the characters that they start at."""
    matches = list(_WORD.finditer(text))
    words = [match.group() for match in matches]
    return words, np.array([match.start() for match in matches], np.int64)


def word_at(starts: np.ndarray, char: int) -> int:
    """Returns the word that a character is in; white space counts to the left."""
    return max(int(np.searchsorted(starts, char, side="right")) - 1, 0)


def read_examples(
    path: files.PathLike, is_training: bool, version_2: bool = False
) -> list[SquadExample]:
    """Reads the examples of a SQuAD file.

    In training, questions whose answer cannot be found again in the passage's words
    are dropped, as in the original; a warning tells how many.

    Args:
        path: the JSON file.
        is_training: whether the answers are wanted; then each question has to have
            exactly one, or with `version_2` be marked as impossible.
        version_2: whether questions may have no answer.

    Raises:
        UserError: the file is broken; file, place and question are named.
    """
    examples: list[SquadExample] = []
    lost: list[str] = []
    context, words, starts = None, [], np.zeros(0, np.int64)
    questions = squad.read_questions(path, need_answers=is_training)
    for question in questions:
        if question.context is not context:
            context = question.context
            words, starts = split_words(context)
        example = SquadExample(question.id, question.text, words)
        if is_training:
            example = _with_answer(example, question, starts, version_2)
        if example is None:
            lost.append(question.id)
        else:
            examples.append(example)
    if lost:
        from absl import logging

        logging.warning(
            "%s: %d of %d questions dropped, their answers are not in the words of "
            "their passages (e.g. %s)",
            *(path, len(lost), len(questions), squad.shown(*lost)),
        )
    return examples


def convert_examples_to_features(
    examples: Iterable[SquadExample],
    tokenizer: BertTokenizer,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    max_query_length: int = 64,
    is_training: bool = False,
) -> Iterator[Window]:
    """Yields the windows of all examples, in order.

    In training, a window without the whole answer has the targets (0, 0), also in
    version 1.1, as in the original.

    Args:
        examples: the questions; a passage that successive questions share is
            tokenized once.
        tokenizer: BERT's.
        max_seq_length: the longest window, special tokens included.
        doc_stride: tokens between the starts of windows.
        max_query_length: the question is cut to so many tokens.
        is_training: whether the answers' positions are wanted.

    Raises:
        UserError: the lengths leave no room for the passage.
    """
    if max_query_length < 0 or max_seq_length <= max_query_length + 3:
        raise errors.UserError(
            f"max_seq_length {max_seq_length} has to be over max_query_length "
            f"{max_query_length} + 3, for [CLS], [SEP], [SEP] and the passage"
        )
    if doc_stride < 1:
        raise errors.UserError(f"doc_stride has to be 1 or more, got {doc_stride}")
    lengths = (max_seq_length, doc_stride, max_query_length)
    return _windows(examples, tokenizer, *lengths, is_training)


def answer_features(
    question: str,
    passage: str,
    tokenizer: BertTokenizer,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    max_query_length: int = 64,
) -> tuple[SquadExample, list[Window]]:
    """Returns the example and the windows of one question about one passage.

    Raises:
        UserError: the passage is blank, or the lengths leave no room for it.
    """
    example = SquadExample("question", question, split_words(passage)[0])
    lengths = (max_seq_length, doc_stride, max_query_length)
    windows = list(convert_examples_to_features([example], tokenizer, *lengths))
    if not windows:
        raise errors.UserError("the passage has no words")
    return example, windows


def _with_answer(
    example: SquadExample, question: Question, starts: np.ndarray, version_2: bool
) -> SquadExample | None:
    """Adds the answer; None if the passage's words do not contain it."""
    where = question.where
    if version_2:
        if question.is_impossible is None:
            raise errors.UserError(
                f"{where}: 'is_impossible' is missing; a file of version 1.1 has to "
                "be read as such"
            )
        if question.is_impossible:
            return example._replace(is_impossible=True)
    if len(question.answers) != 1:
        hint = "" if version_2 else "; version 2.0 allows questions without"
        raise errors.UserError(
            f"{where}: training needs exactly one answer, got "
            f"{len(question.answers)}{hint}"
        )
    text, start = question.answers[0]
    if start is None:
        raise errors.UserError(f"{where}: answers[0]: 'answer_start' is missing")
    if not text:
        raise errors.UserError(f"{where}: answers[0]: 'text' is empty")
    if not 0 <= start <= len(question.context) - len(text):
        raise errors.UserError(
            f"{where}: answer_start {start} with {len(text)} characters of text is "
            f"outside the context of {len(question.context)}"
        )
    first = word_at(starts, start)
    last = word_at(starts, start + len(text) - 1)
    cleaned = " ".join(text.split())
    if not cleaned or cleaned not in " ".join(example.words[first : last + 1]):
        return None
    return example._replace(answer=text, start=first, end=last)


def _windows(
    examples: Iterable[SquadExample],
    tokenizer: BertTokenizer,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    is_training: bool,
) -> Iterator[Window]:
    cls, sep = [tokenizer.cls_id], [tokenizer.sep_id]
    unique_id = FIRST_UNIQUE_ID
    words: Sequence[str] | None = None
    for example_index, example in enumerate(examples):
        if example.words is not words:
            words = example.words
            doc, word_of, first_token = _tokenize_words(words, tokenizer)
        query = tokenizer.encode(example.question)[:max_query_length]
        head = np.array(cls + query + sep, np.int32)
        spans = _doc_spans(len(doc), max_seq_length - len(head) - 1, doc_stride)
        context = _max_context(spans, len(doc))
        answer = None
        if is_training and not example.is_impossible:
            answer = _answer_span(example, doc, first_token, tokenizer)
        for index, (start, stop) in enumerate(spans):
            token_ids = np.concatenate([head, doc[start:stop], sep], dtype=np.int32)
            segment_ids = np.ones(len(token_ids), np.int32)
            segment_ids[: len(head)] = 0
            positions = (0, 0)
            if answer and start <= answer[0] <= answer[1] < stop:
                shift = len(head) - start
                positions = (answer[0] + shift, answer[1] + shift)
            yield Window(
                unique_id,
                example_index,
                index,
                {"token_ids": token_ids, "segment_ids": segment_ids},
                len(head),
                word_of[start:stop],
                context[start:stop] == index,
                *positions,
            )
            unique_id += 1


def _tokenize_words(words: Sequence[str], tokenizer: BertTokenizer):
    """Returns token ids [N], their words [N] and the words' first tokens [W + 1]."""
    pieces = [tokenizer.encode(word) for word in words]
    counts = np.array([len(piece) for piece in pieces], np.int64)
    ids = np.array([i for piece in pieces for i in piece], np.int32)
    word_of = np.repeat(np.arange(len(words), dtype=np.int32), counts)
    return ids, word_of, np.concatenate([[0], np.cumsum(counts)])


def _doc_spans(tokens: int, room: int, doc_stride: int) -> list[tuple[int, int]]:
    """Returns the (start, stop) of windows of `room` tokens that cover all tokens."""
    spans = []
    start = 0
    while start < tokens:
        stop = min(tokens, start + room)
        spans.append((start, stop))
        if stop == tokens:
            break
        start += min(room, doc_stride)
    return spans


def _max_context(spans: Sequence[tuple[int, int]], tokens: int) -> np.ndarray:
    """Returns for each token the window that shows most of its surroundings.

    That is the larger of the smaller distances to the window's ends, plus 0.01 of
    its length; of equals the first.
    """
    owner = np.zeros(tokens, np.int64)
    best = np.full(tokens, -1.0)
    for index, (start, stop) in enumerate(spans):
        left = np.arange(stop - start)
        score = np.minimum(left, left[::-1]) + 0.01 * (stop - start)
        better = score > best[start:stop]
        best[start:stop][better] = score[better]
        owner[start:stop][better] = index
    return owner


def _answer_span(example, doc, first_token, tokenizer) -> tuple[int, int]:
    """Returns the answer's first and last token in the passage.

    The words of the answer may hold more than it, as "(1895-1943)." does around
    "1895": the first run of tokens equal to the answer's own is taken, and all
    tokens of the words if there is none, as for "Japan" in "Japanese".
    """
    first = int(first_token[example.start])
    last = int(first_token[example.end + 1]) - 1
    answer = np.array(tokenizer.encode(example.answer), np.int32)
    if len(answer):
        starts = doc[first : max(first, last - len(answer) + 2)] == answer[0]
        for start in (first + np.flatnonzero(starts)).tolist():
            if np.array_equal(doc[start : start + len(answer)], answer):
                return start, start + len(answer) - 1
    return first, last
