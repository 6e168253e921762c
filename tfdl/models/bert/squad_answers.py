"""From start and end logits to answers in the passage's words (run_squad.py)."""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdl.engine import errors, files
from tfdl.metrics import squad as metrics
from tfdl.models.bert.squad import SquadExample, Window
from tfdl.text.wordpiece import BertTokenizer

# The score difference of a question of version 2.0 whose n-best list holds nothing
# but the empty answer: no logits reach it, so that no sensible threshold turns it
# into an answer. (run_squad.py stops with an AttributeError there.)
NO_CANDIDATE_SCORE_DIFF = 1e6

PREDICTIONS = "predictions.json"
NBEST = "nbest_predictions.json"
NULL_ODDS = "null_odds.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How answers are chosen.

    Attributes:
        n_best_size: start and end positions looked at per window, and answers kept.
        max_answer_length: in tokens.
        version_2: whether a question may have no answer.
        null_score_diff_threshold: the empty answer is given when its score is more
            than this above the best other answer's.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    version_2: bool = False
    null_score_diff_threshold: float = 0.0

    def __post_init__(self):
        for name in ("n_best_size", "max_answer_length"):
            if getattr(self, name) < 1:
                raise errors.UserError(
                    f"{name} has to be 1 or more, got {getattr(self, name)}"
                )


class Answer(NamedTuple):
    """One question's answer.

    Attributes:
        text: the answer; "" for none.
        nbest: dicts of `text`, `probability`, `start_logit`, `end_logit`.
        score_diff: score of no answer minus that of the best other answer; None in
            version 1.1.
    """

    text: str
    nbest: list[dict[str, Any]]
    score_diff: float | None


class Answers(NamedTuple):
    """The answers of all questions, by id; `null_odds` is None in version 1.1."""

    predictions: dict[str, str]
    nbest: dict[str, list[dict[str, Any]]]
    null_odds: dict[str, float] | None

    def candidates(self) -> dict[str, str]:
        """Returns the best non-empty answer of each question, "" where none is."""
        return {
            key: next((entry["text"] for entry in entries if entry["text"]), "")
            for key, entries in self.nbest.items()
        }


class _Span(NamedTuple):
    window: Window
    start: int
    end: int
    start_logit: float
    end_logit: float


Logits = tuple[Sequence[float], Sequence[float]]


def find_answers(
    examples: Sequence[SquadExample],
    windows: Iterable[Window],
    results: Mapping[int, Logits],
    tokenizer: BertTokenizer,
    settings: Settings,
) -> Answers:
    """Returns the answers of all examples.

    Args:
        examples: the questions.
        windows: their windows, in order.
        results: unique id -> start and end logits, each of the window's length or
            longer. Logits past its end are padding; as in the original they take
            places among the n best. Cut them off to get answers that do not depend
            on how far a batch was padded.
        tokenizer: the one that the windows were made with.
        settings: how answers are chosen.

    Raises:
        UserError: logits are missing or not finite; the questions are named.
    """
    of_example: dict[int, list[Window]] = collections.defaultdict(list)
    for window in windows:
        of_example[window.example_index].append(window)
    incomplete = [
        examples[index].id
        for index, group in of_example.items()
        if any(window.unique_id not in results for window in group)
    ]
    if incomplete:
        raise errors.UserError(
            metrics.missing_text("complete results", incomplete, len(examples))
        )
    answers = Answers({}, {}, {} if settings.version_2 else None)
    for index, example in enumerate(examples):
        found = find_answer(example, of_example[index], results, tokenizer, settings)
        answers.predictions[example.id] = found.text
        answers.nbest[example.id] = found.nbest
        if answers.null_odds is not None:
            answers.null_odds[example.id] = found.score_diff
    return answers


def find_answer(
    example: SquadExample,
    windows: Sequence[Window],
    results: Mapping[int, Logits],
    tokenizer: BertTokenizer,
    settings: Settings,
) -> Answer:
    """Returns the answer of one example; see `find_answers`."""
    spans: list[_Span] = []
    null: tuple[float, float] | None = None
    for window in windows:
        start, end = (np.asarray(x, np.float64) for x in results[window.unique_id])
        length = len(window.features["token_ids"])
        if start.ndim != 1 or start.shape != end.shape or len(start) < length:
            raise ValueError(
                f"logits of shapes {start.shape}, {end.shape}, {length} tokens"
            )
        if not (np.isfinite(start).all() and np.isfinite(end).all()):
            raise errors.UserError(
                f"question {metrics.shown(example.id)}: the logits are not finite"
            )
        # Of all windows, the one that is least for "no answer" counts.
        if null is None or start[0] + end[0] < null[0] + null[1]:
            null = (float(start[0]), float(end[0]))
        spans += _best_spans(window, start, end, settings)
    if settings.version_2 and windows:
        spans.append(_Span(windows[0], 0, 0, *null))
    null = null or (0.0, 0.0)
    nbest = _n_best(example, spans, null, tokenizer, settings)
    if not settings.version_2:
        return Answer(nbest[0]["text"], nbest, None)
    best = next((entry for entry in nbest if entry["text"]), None)
    if best is None:
        return Answer("", nbest, NO_CANDIDATE_SCORE_DIFF)
    diff = null[0] + null[1] - best["start_logit"] - best["end_logit"]
    empty = diff > settings.null_score_diff_threshold
    return Answer("" if empty else best["text"], nbest, diff)


def find_best_threshold(
    questions: Sequence[metrics.Question], answers: Answers, metric: str = "f1"
) -> metrics.Threshold:
    """Finds the null_score_diff_threshold that is best for a development set.

    Args:
        questions: with their gold answers.
        answers: found with `version_2`, at any threshold.
        metric: `"exact"` or `"f1"`.

    Raises:
        UserError: a question has no answer here.
    """
    if answers.null_odds is None:
        raise errors.UserError("a threshold is for version 2.0 only")
    candidates = answers.candidates()
    return metrics.find_best_threshold(questions, candidates, answers.null_odds, metric)


def write_answers(folder: files.PathLike, answers: Answers) -> list[pathlib.Path]:
    """Writes the original's predictions.json, nbest_predictions.json, null_odds.json.

    Returns:
        The files; null_odds.json is for version 2.0 only.
    """
    contents = {PREDICTIONS: answers.predictions, NBEST: answers.nbest}
    if answers.null_odds is not None:
        contents[NULL_ODDS] = answers.null_odds
    return [
        files.atomic_write(
            pathlib.Path(folder) / name, json.dumps(content, indent=4) + "\n"
        )
        for name, content in contents.items()
    ]


def final_text(predicted: str, original: str, tokenizer: BertTokenizer) -> str:
    """Cuts predicted tokens out of the words they came from (get_final_text).

    "steve smith" in "Steve Smith's" gives "Steve Smith". Where the tokenizer's
    version of the words has other characters, so that the two cannot be laid side by
    side, the whole words are returned.

    Args:
        predicted: the predicted tokens, pieces joined.
        original: the words that the tokens are from, separated by spaces.
        tokenizer: BERT's.
    """
    tokenized = " ".join(tokenizer.basic(original))
    start = tokenized.find(predicted)
    if start < 0 or not predicted:
        return original
    in_original = [i for i, char in enumerate(original) if char != " "]
    in_tokenized = [i for i, char in enumerate(tokenized) if char != " "]
    if len(in_original) != len(in_tokenized):
        return original
    place = dict(zip(in_tokenized, in_original, strict=True))
    first, last = place.get(start), place.get(start + len(predicted) - 1)
    if first is None or last is None:
        return original
    return original[first : last + 1]


def _best_spans(
    window: Window, start: np.ndarray, end: np.ndarray, settings: Settings
) -> list[_Span]:
    """Returns the allowed spans between the best starts and the best ends.

    In the order of the original's loops: its later sort by score is stable, and so
    are those here, so that ties end up as there.
    """
    first = window.doc_offset
    last = first + len(window.word_of)
    starts, ends = (
        np.argsort(-x, kind="stable")[: settings.n_best_size] for x in (start, end)
    )
    starts = starts[(starts >= first) & (starts < last)]
    starts = starts[window.is_max_context[starts - first]]
    ends = ends[(ends >= first) & (ends < last)]
    more = ends[None, :] - starts[:, None]
    rows, columns = np.nonzero((more >= 0) & (more < settings.max_answer_length))
    starts, ends = starts[rows], ends[columns]
    return [
        _Span(window, *values)
        for values in zip(
            *(starts.tolist(), ends.tolist()),
            *(start[starts].tolist(), end[ends].tolist()),
            strict=True,
        )
    ]


def _n_best(
    example: SquadExample,
    spans: list[_Span],
    null: tuple[float, float],
    tokenizer: BertTokenizer,
    settings: Settings,
) -> list[dict[str, Any]]:
    spans.sort(key=lambda span: span.start_logit + span.end_logit, reverse=True)
    seen: set[str] = set()
    found: list[tuple[str, float, float]] = []
    for span in spans:
        if len(found) >= settings.n_best_size:
            break
        text = ""
        if span.start > 0:
            text = _span_text(example, span, tokenizer)
            if text in seen:
                continue
        seen.add(text)
        found.append((text, span.start_logit, span.end_logit))
    if settings.version_2 and "" not in seen:
        found.append(("", *null))
    if not found:
        # What the original answers when no span is allowed.
        found.append(("empty", 0.0, 0.0))
    probabilities = _softmax([start + end for _, start, end in found])
    return [
        {
            "text": text,
            "probability": probability,
            "start_logit": start,
            "end_logit": end,
        }
        for (text, start, end), probability in zip(found, probabilities, strict=True)
    ]


def _span_text(example: SquadExample, span: _Span, tokenizer: BertTokenizer) -> str:
    window = span.window
    ids = window.features["token_ids"][span.start : span.end + 1]
    text = " ".join(tokenizer.vocab[i] for i in ids)
    text = " ".join(text.replace(" ##", "").replace("##", "").split())
    first = window.word_of[span.start - window.doc_offset]
    last = window.word_of[span.end - window.doc_offset]
    return final_text(text, " ".join(example.words[first : last + 1]), tokenizer)


def _softmax(scores: Sequence[float]) -> list[float]:
    most = max(scores)
    exponentials = [math.exp(score - most) for score in scores]
    total = sum(exponentials)
    return [value / total for value in exponentials]
