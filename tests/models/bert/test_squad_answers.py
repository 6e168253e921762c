"""Answers from logits against run_squad.py's write_predictions."""

import json

import numpy as np
import pytest

from tests.models.bert.squad_cases import (
    CASES,
    GOLDEN,
    TINY,
    TOKENIZER,
    examples,
    windows,
)
from tfdl.engine.errors import UserError
from tfdl.metrics import squad as metrics
from tfdl.models.bert import squad
from tfdl.models.bert import squad_answers as lib
from tfdl.text.wordpiece import BertTokenizer


def settings(case):
    names = ("n_best_size", "max_answer_length", "null_score_diff_threshold")
    values = {name: case[name] for name in names}
    return lib.Settings(version_2=case["version_2_with_negative"], **values)


def results(case):
    return {
        row["unique_id"]: (row["start_logits"], row["end_logits"])
        for row in case["results"]
    }


def answers(case):
    given = examples(case), windows(case), results(case)
    return lib.find_answers(*given, TOKENIZER, settings(case))


@pytest.mark.parametrize("case", CASES[:3])
def test_answers_equal_the_original(case):
    found = answers(case)
    assert list(found.predictions.items()) == list(case["predictions"].items())
    assert found.null_odds == case["null_odds"]
    assert list(found.nbest) == list(case["nbest"])
    for key, expected in case["nbest"].items():
        assert len(found.nbest[key]) == len(expected)
        for entry, want in zip(found.nbest[key], expected, strict=True):
            assert list(entry) == ["text", "probability", "start_logit", "end_logit"]
            assert entry["text"] == want["text"]
            assert entry["start_logit"] == want["start_logit"]
            assert entry["end_logit"] == want["end_logit"]
            assert entry["probability"] == pytest.approx(want["probability"], 1e-12)


def test_files_are_the_originals(tmp_path):
    case = CASES[1]
    paths = lib.write_answers(tmp_path, answers(case))
    contents = {path.name: path.read_text() for path in paths}
    assert contents["predictions.json"] == (
        json.dumps(case["predictions"], indent=4) + "\n"
    )
    assert contents["null_odds.json"] == json.dumps(case["null_odds"], indent=4) + "\n"
    first = contents["nbest_predictions.json"].splitlines()[:8]
    assert [line.split(":")[0] for line in first[2:7]] == [
        "        {",
        '            "text"',
        '            "probability"',
        '            "start_logit"',
        '            "end_logit"',
    ]
    assert metrics.read_predictions(paths[0]) == case["predictions"]
    assert metrics.read_na_probs(paths[2]) == case["null_odds"]
    names = [path.name for path in lib.write_answers(tmp_path, answers(CASES[0]))]
    assert names == ["predictions.json", "nbest_predictions.json"]


def test_a_question_without_candidates_is_not_answered():
    """Where the original stops with an AttributeError."""
    case = CASES[3]
    assert case["original_crashes"]
    found = answers(case)
    alone = [
        key
        for key, entries in found.nbest.items()
        if not any(entry["text"] for entry in entries)
    ]
    assert alone
    for key, odds in found.null_odds.items():
        assert (key in alone) == (odds == lib.NO_CANDIDATE_SCORE_DIFF)
        assert found.predictions[key] == "" or key not in alone
    assert len(found.predictions) == 6
    json.loads(json.dumps(found.null_odds), parse_constant=pytest.fail)


@pytest.mark.parametrize("case", GOLDEN["get_final_text"])
def test_final_text_equals_the_original(case):
    tokenizer = BertTokenizer(TOKENIZER.vocab, case["do_lower_case"])
    assert lib.final_text(case["pred"], case["orig"], tokenizer) == case["out"]


def one(passage, start, end, question="who?", version_2=True, **options):
    """Answers one question with logits given as {token: logit}, others 0."""
    made, found = squad.answer_features(question, passage, TOKENIZER, 64, 16, 8)
    logits = {}
    for window in found:
        rows = np.zeros([2, len(window.features["token_ids"])])
        for row, given in zip(rows, (start, end), strict=True):
            for position, value in given.items():
                row[position if position <= 0 else window.doc_offset + position] = value
        logits[window.unique_id] = tuple(rows)
    chosen = lib.Settings(version_2=version_2, **options)
    return lib.find_answer(made, found, logits, TOKENIZER, chosen)


def test_ties_keep_the_order_of_positions():
    """All sums are equal: the first start with the first end wins, then the next."""
    found = one("a b c", {}, {}, version_2=False)
    texts = [entry["text"] for entry in found.nbest]
    assert texts == ["a", "a b", "a b c", "b", "b c", "c"]
    assert found.text == "a" and found.score_diff is None


def test_ties_among_many_positions_are_cut_in_order():
    words = [chr(ord("a") + i) for i in range(26)]
    ones = dict.fromkeys(range(1, 26), 1.0)
    found = one(" ".join(words), ones, ones, version_2=False, n_best_size=3)
    assert [entry["text"] for entry in found.nbest] == ["b", "b c", "b c d"]


@pytest.mark.parametrize(("most", "text"), [(2, "b"), (3, "b c d")])
def test_max_answer_length_is_allowed(most, text):
    start, end = {1: 5.0}, {1: 1.0, 3: 5.0}
    found = one("a b c d", start, end, version_2=False, max_answer_length=most)
    assert found.text == text


@pytest.mark.parametrize(
    ("predicted", "original"), [("cafe", "(cafe\u0301)."), ("a", "a\u200bb a")]
)
def test_final_text_of_words_that_change_length(predicted, original):
    """Characters cannot be laid side by side: the whole words are the answer."""
    assert lib.final_text(predicted, original, TOKENIZER) == original


def test_threshold_decides_for_no_answer():
    for threshold, expected in ((0.0, "b"), (-5.5, "b"), (-5.6, "")):
        found = one("a b c", {1: 3.0}, {1: 2.5}, null_score_diff_threshold=threshold)
        assert (found.score_diff, found.text) == (-5.5, expected)


def test_the_least_null_score_of_all_windows_counts():
    words = ["b"] * 150
    made, found = squad.answer_features("who?", " ".join(words), TOKENIZER, 64, 32, 8)
    assert len(found) > 2
    logits = {}
    for number, window in enumerate(found):
        rows = np.zeros([2, len(window.features["token_ids"])])
        rows[0, 0] = 5.0 - number
        logits[window.unique_id] = tuple(rows)
    given = made, found, logits, TOKENIZER, lib.Settings(version_2=True)
    answer = lib.find_answer(*given)
    least = 5.0 - (len(found) - 1)
    assert answer.score_diff == least
    assert answer.nbest[-1]["text"] == "" or answer.nbest[0]["text"] == ""
    assert {e["start_logit"] for e in answer.nbest if not e["text"]} == {least}


def test_no_allowed_span_in_version_1():
    """The best ends all lie before the best starts; the original says "empty"."""
    start, end = {3: 9.0}, {0: 9.0}
    found = one("a b c d", start, end, version_2=False, n_best_size=1)
    assert found.text == "empty"
    assert found.nbest == [
        {"text": "empty", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0}
    ]


@pytest.mark.parametrize("version_2", [False, True])
def test_a_passage_without_words_does_not_stop_the_others(version_2):
    """It has no windows; the original fails there in version 2.0."""
    made = [squad.SquadExample("q", "who?", [])]
    chosen = lib.Settings(version_2=version_2)
    found = lib.find_answers(made, [], {}, TOKENIZER, chosen)
    assert found.predictions == {"q": "" if version_2 else "empty"}


def test_incomplete_results_are_named():
    case = CASES[0]
    given = results(case)
    owners = {f["unique_id"]: f["example_index"] for f in case["features"]}
    for key, owner in owners.items():
        if owner == 1:
            del given[key]
    with pytest.raises(UserError, match="no complete results for 1 of 4 .*: 'q-a2'$"):
        lib.find_answers(
            examples(case), windows(case), given, TOKENIZER, settings(case)
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_have_to_be_finite_and_long_enough(bad):
    with pytest.raises(UserError, match="'question': the logits are not finite"):
        one("a b", {1: bad}, {})
    made, found = squad.answer_features("who?", "a b", TOKENIZER)
    logits = {found[0].unique_id: (np.zeros(3), np.zeros(3))}
    with pytest.raises(ValueError, match="logits of shapes"):
        lib.find_answer(made, found, logits, TOKENIZER, lib.Settings())


@pytest.mark.parametrize("name", ["n_best_size", "max_answer_length"])
def test_settings_are_checked(name):
    with pytest.raises(UserError, match=f"{name} has to be 1 or more, got 0"):
        lib.Settings(**{name: 0})


def test_best_threshold_of_a_development_set():
    questions = metrics.read_questions(TINY)
    case = CASES[2]
    found = answers(case)
    best = lib.find_best_threshold(questions, found)
    again = lib.find_answers(
        examples(case),
        windows(case),
        results(case),
        TOKENIZER,
        lib.Settings(
            case["n_best_size"], case["max_answer_length"], True, best.threshold
        ),
    )
    scores = metrics.evaluate_v2(questions, again.predictions)
    assert (scores["exact"], scores["f1"]) == (best.exact, best.f1)
    assert best.f1 >= metrics.evaluate_v2(questions, found.predictions)["f1"]
    with pytest.raises(UserError, match="version 2.0 only"):
        lib.find_best_threshold(questions, answers(CASES[0]))


def test_right_logits_score_full_marks():
    """From the training positions back to the gold answers' text."""
    training = squad.read_examples(TINY, True, version_2=True)
    lengths = {"max_seq_length": 48, "doc_stride": 16, "max_query_length": 12}
    made = list(
        squad.convert_examples_to_features(
            training, TOKENIZER, **lengths, is_training=True
        )
    )
    logits = {}
    for window in made:
        rows = np.zeros([2, len(window.features["token_ids"])])
        has_answer = window.start_position > 0
        first = window.start_position - window.doc_offset
        rows[0, 0] = rows[1, 0] = 0.0 if has_answer else 5.0
        if has_answer and window.is_max_context[first]:
            rows[0, window.start_position] = rows[1, window.end_position] = 10.0
        logits[window.unique_id] = tuple(rows)
    chosen = lib.Settings(version_2=True)
    found = lib.find_answers(training, made, logits, TOKENIZER, chosen)
    gold = {example.id: example.answer for example in training}
    # The tokenizer does not split "Japanese", where the gold answer is "Japan".
    assert found.predictions == {**gold, "q-a2": found.predictions["q-a2"]}
    assert found.predictions["q-a2"].startswith("Japan")
    scores = metrics.evaluate_v2(metrics.read_questions(TINY), found.predictions)
    assert scores["exact"] >= 100 * 5 / 6
