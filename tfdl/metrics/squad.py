"""SQuAD's files and its official scores, versions 1.1 and 2.0.

The scores are those of the data set's own scripts, evaluate-v1.1.py and
evaluate-v2.0.py (Rajpurkar et al. 2016, arXiv 1606.05250, and 2018, arXiv
1806.03822), as percentages.
"""

import collections
import json
import re
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tfdl.engine import errors, files

MAX_FILE_BYTES = 1 << 30

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_KINDS = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    float: "a number",
    type(None): "null",
}


class GoldAnswer(NamedTuple):
    """An answer's text and the character of the context that it starts at."""

    text: str
    start: int | None


class Question(NamedTuple):
    """A question of a SQuAD file. `where` names the file and the place in it.

    `is_impossible` is None in files of version 1.1.
    """

    id: str
    text: str
    context: str
    answers: tuple[GoldAnswer, ...]
    is_impossible: bool | None
    where: str


class Threshold(NamedTuple):
    """The best null_score_diff_threshold and the scores that it gives."""

    threshold: float
    exact: float
    f1: float


def read_questions(path: files.PathLike, need_answers: bool = True) -> list[Question]:
    """Reads a SQuAD file of version 1.1 or 2.0.

    Args:
        path: the JSON file.
        need_answers: whether a question without the key `answers` is an error.

    Raises:
        UserError: the file is no JSON (its line is named), lacks a key or holds a
            value of the wrong type (the question is named), has an id twice, or has
            no questions.
    """
    content = _read_json(path)
    found: list[Question] = []
    where = f"{path}: the top level"
    for i, article in enumerate(_get(content, "data", list, where)):
        at = f"{path}: data[{i}]"
        for j, paragraph in enumerate(_get(article, "paragraphs", list, at)):
            place = f"{at}.paragraphs[{j}]"
            context = _get(paragraph, "context", str, place)
            for k, entry in enumerate(_get(paragraph, "qas", list, place)):
                where = f"{place}.qas[{k}]"
                found.append(_question(entry, context, where, need_answers))
    if not found:
        raise errors.UserError(f"{path} has no questions")
    counts = collections.Counter(question.id for question in found)
    twice = [question for question in found if counts[question.id] > 1]
    if twice:
        raise errors.UserError(
            f"{twice[-1].where}: the id is not unique, it stands for "
            f"{counts[twice[-1].id]} questions"
        )
    return found


def read_predictions(path: files.PathLike) -> dict[str, str]:
    """Reads predictions.json: question id -> answer, "" for none.

    Raises:
        UserError: it is not such a file.
    """
    content = _read_json(path)
    for key in content:
        _get(content, key, str, f"{path}")
    return content


def read_na_probs(path: files.PathLike) -> dict[str, float]:
    """Reads null_odds.json (or probabilities): question id -> number.

    Raises:
        UserError: it is not such a file, or a number is not finite.
    """
    content = _read_json(path)
    for key, value in content.items():
        is_number = type(value) in (int, float) and abs(value) <= sys.float_info.max
        if not is_number:
            raise errors.UserError(
                f"{path}: {shown(key)} has to be a finite number, got {value!r}"[:300]
            )
    return content


def normalize_answer(text: str) -> str:
    """Lowercases, drops ASCII punctuation, then articles, then extra white space."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_score(gold: str, prediction: str) -> int:
    """Returns 1 if the normalised answers are equal, else 0."""
    return int(normalize_answer(gold) == normalize_answer(prediction))


def f1_score(gold: str, prediction: str, both_empty: int = 1) -> float:
    """Returns the F1 of the two bags of words.

    Args:
        gold: the right answer.
        prediction: the given answer.
        both_empty: what two empty answers score: 1 in version 2.0, 0 in 1.1.
    """
    want, have = normalize_answer(gold).split(), normalize_answer(prediction).split()
    if not want and not have:
        return both_empty
    same = sum((collections.Counter(want) & collections.Counter(have)).values())
    if not same:
        return 0
    precision, recall = same / len(have), same / len(want)
    return (2 * precision * recall) / (precision + recall)


def evaluate_v1(
    questions: Iterable[Question], predictions: Mapping[str, str]
) -> dict[str, float]:
    """Returns `exact_match` and `f1` of version 1.1.

    A question without a prediction counts as wrong.

    Raises:
        UserError: a question has no gold answer (as in files of version 2.0).
    """
    exact, f1, total, missing = 0, 0.0, 0, []
    for question in questions:
        total += 1
        if not question.answers:
            raise errors.UserError(
                f"{question.where}: no answers; version 1.1 needs one for every "
                "question, score this file as version 2.0"
            )
        if question.id not in predictions:
            missing.append(question.id)
            continue
        given = predictions[question.id]
        exact += max(exact_score(gold.text, given) for gold in question.answers)
        f1 += max(f1_score(gold.text, given, 0) for gold in question.answers)
    if missing:
        from absl import logging

        logging.warning("%s; they score 0", missing_text("prediction", missing, total))
    return {
        "exact_match": 100.0 * exact / max(total, 1),
        "f1": 100.0 * f1 / max(total, 1),
    }


def evaluate_v2(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    na_probs: Mapping[str, float] | None = None,
    na_prob_thresh: float = 1.0,
) -> dict[str, float]:
    """Returns the scores of version 2.0.

    Args:
        questions: with `answers` empty where there is none.
        predictions: id -> answer, "" for none.
        na_probs: id -> how sure it is that there is no answer. An answer whose
            number is over `na_prob_thresh` is scored as "". Mind the default of 1
            when the numbers are score differences instead of probabilities.
        na_prob_thresh: see there.

    Returns:
        `exact`, `f1`, `total`, the same with prefix `HasAns_` and `NoAns_` for the
        answerable questions and the others, and with `na_probs` also `best_exact`,
        `best_exact_thresh`, `best_f1`, `best_f1_thresh`.

    Raises:
        UserError: a prediction or a number is missing.
    """
    ids = [question.id for question in questions]
    _all_there("prediction", ids, predictions)
    if na_probs is not None:
        _all_there("no-answer number", ids, na_probs)
    has_answer = {question.id: bool(question.answers) for question in questions}
    raw = _scores_v2(questions, predictions)
    scores = raw
    if na_probs is not None:
        scores = {
            name: {
                key: float(not has_answer[key])
                if na_probs[key] > na_prob_thresh
                else score
                for key, score in values.items()
            }
            for name, values in raw.items()
        }
    result = _means(scores, ids)
    for prefix, kind in (("HasAns", True), ("NoAns", False)):
        subset = [key for key in ids if has_answer[key] == kind]
        if subset:
            for name, value in _means(scores, subset).items():
                result[f"{prefix}_{name}"] = value
    if na_probs is not None:
        for name, values in raw.items():
            best = _official_sweep(predictions, values, na_probs, has_answer)
            result[f"best_{name}"], result[f"best_{name}_thresh"] = best
    return result


def apply_threshold(
    candidates: Mapping[str, str], null_odds: Mapping[str, float], threshold: float
) -> dict[str, str]:
    """Returns the answers whose score difference is not over the threshold, else ""."""
    return {
        key: "" if null_odds[key] > threshold else text
        for key, text in candidates.items()
    }


def find_best_threshold(
    questions: Sequence[Question],
    candidates: Mapping[str, str],
    null_odds: Mapping[str, float],
    metric: str = "f1",
) -> Threshold:
    """Finds the null_score_diff_threshold that scores best on a development set.

    Unlike `best_f1_thresh` of the official script, which sweeps over predictions
    that a threshold may have emptied already, this starts from the best non-empty
    answers, never cuts between equal numbers, and returns a threshold under all of
    them where answering nothing is best.

    Args:
        questions: of the development set.
        candidates: id -> best non-empty answer.
        null_odds: id -> score of no answer minus score of the candidate.
        metric: `"exact"` or `"f1"`.

    Returns:
        The threshold and the scores of `apply_threshold` with it.
    """
    if metric not in ("exact", "f1"):
        raise errors.unknown("metric", metric, ("exact", "f1"))
    ids = [question.id for question in questions]
    _all_there("prediction", ids, candidates)
    _all_there("no-answer number", ids, null_odds)
    answered = _scores_v2(questions, candidates)[metric]
    empty = _scores_v2(questions, dict.fromkeys(ids, ""))[metric]
    order = sorted(ids, key=lambda key: null_odds[key])
    gain, best_gain = 0.0, 0.0
    threshold = null_odds[order[0]] - 1.0
    for key, following in zip(order, [*order[1:], None], strict=True):
        gain += answered[key] - empty[key]
        tied = following is not None and null_odds[following] == null_odds[key]
        if gain > best_gain and not tied:
            best_gain, threshold = gain, null_odds[key]
    chosen = apply_threshold({k: candidates[k] for k in ids}, null_odds, threshold)
    means = _means(_scores_v2(questions, chosen), ids)
    return Threshold(threshold, means["exact"], means["f1"])


def missing_text(what: str, missing: Sequence[str], total: int) -> str:
    """Returns e.g. "no prediction for 7 of 20 questions: 'a', 'b', 'c', ..."."""
    return f"no {what} for {len(missing)} of {total} questions: {shown(*missing)}"


def shown(*names: str, most: int = 5) -> str:
    """Returns names from a file as they fit into a line: quoted, short, not all."""
    quoted = [repr(name) for name in names[:most]]
    quoted = [x if len(x) <= 80 else x[:77] + "...'" for x in quoted]
    return ", ".join([*quoted, "..."] if len(names) > most else quoted)


def _all_there(what: str, ids: Sequence[str], given: Mapping[str, Any]) -> None:
    if not ids:
        raise errors.UserError("there are no questions to score")
    missing = [key for key in ids if key not in given]
    if missing:
        raise errors.UserError(missing_text(what, missing, len(ids)))


def _scores_v2(questions, predictions) -> dict[str, dict[str, float]]:
    exact, f1 = {}, {}
    for question in questions:
        # An answer such as "The." normalises to nothing and is no answer.
        golds = [x.text for x in question.answers if normalize_answer(x.text)] or [""]
        given = predictions[question.id]
        exact[question.id] = max(exact_score(gold, given) for gold in golds)
        f1[question.id] = max(f1_score(gold, given) for gold in golds)
    return {"exact": exact, "f1": f1}


def _means(scores, ids: Sequence[str]) -> dict[str, float]:
    result = {
        name: 100.0 * sum(values[key] for key in ids) / len(ids)
        for name, values in scores.items()
    }
    return {**result, "total": len(ids)}


def _official_sweep(predictions, scores, na_probs, has_answer) -> tuple[float, float]:
    score = best = sum(not answerable for answerable in has_answer.values())
    threshold = 0.0
    for key in sorted(na_probs, key=lambda key: na_probs[key]):
        if key not in scores:
            continue
        if has_answer[key]:
            score += scores[key]
        elif predictions[key]:
            score -= 1
        if score > best:
            best, threshold = score, na_probs[key]
    return 100.0 * best / len(scores), threshold


def _question(entry: Any, context: str, where: str, need_answers: bool) -> Question:
    key = _get(entry, "id", str, where)
    where = f"{where} (id {shown(key)})"
    text = _get(entry, "question", str, where)
    impossible = None
    if "is_impossible" in entry:
        impossible = _get(entry, "is_impossible", bool, where)
    answers = []
    if need_answers or "answers" in entry:
        for i, answer in enumerate(_get(entry, "answers", list, where)):
            at = f"{where}: answers[{i}]"
            start = None
            if isinstance(answer, dict) and "answer_start" in answer:
                start = _get(answer, "answer_start", int, at)
            answers.append(GoldAnswer(_get(answer, "text", str, at), start))
    return Question(key, text, context, tuple(answers), impossible, where)


def _read_json(path: files.PathLike) -> dict[str, Any]:
    try:
        content = json.loads(files.read_text(path, MAX_FILE_BYTES))
    except json.JSONDecodeError as error:
        raise errors.UserError(
            f"{path}:{error.lineno}: no valid JSON, {error.msg} (column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise errors.UserError(f"{path}: no valid JSON, {error}"[:300]) from None
    if not isinstance(content, dict):
        raise errors.UserError(
            f"{path}: a JSON object is needed, got {_KINDS.get(type(content))}"
        )
    return content


def _get(value: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(value, dict):
        raise errors.UserError(
            f"{where}: an object is needed, got {_KINDS.get(type(value))}"
        )
    if key not in value:
        raise errors.UserError(f"{where}: {key!r} is missing")
    found = value[key]
    if type(found) is not kind:
        raise errors.UserError(
            f"{where}: {shown(key)} has to be {_KINDS[kind]}, got "
            f"{_KINDS.get(type(found))}"
        )
    return found
