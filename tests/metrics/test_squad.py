"""The official scores of SQuAD, and reading its files."""

import itertools
import json
import random

import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.metrics import squad

TINY = golden("bert", "squad_tiny.json")
GOLDEN = json.loads(golden("bert", "squad_eval_cases.json").read_text())
CASES = GOLDEN["cases"]


def answerable():
    return [question for question in squad.read_questions(TINY) if question.answers]


@pytest.mark.parametrize("case", CASES)
def test_version_2_equals_the_official_script(case):
    questions = squad.read_questions(TINY)
    assert squad.evaluate_v2(questions, case["predictions"]) == case["v2"]
    # The score differences are no probabilities: the default of 1 cuts into them.
    found = squad.evaluate_v2(questions, case["predictions"], case["null_odds"])
    assert found == case["v2_with_na_prob_file_default_thresh_1"]


@pytest.mark.parametrize("case", CASES)
def test_version_1_equals_the_official_script(case):
    predictions = dict(case["predictions"])
    found = squad.evaluate_v1(answerable(), predictions)
    assert found == case["v1_answerable_only"]
    del predictions[case["v1_missing_one"]["missing"]]
    found = squad.evaluate_v1(answerable(), predictions)
    assert found == case["v1_missing_one"]["result"]


@pytest.mark.parametrize(("given", "expected"), GOLDEN["normalize_answer"])
def test_normalize_answer(given, expected):
    assert squad.normalize_answer(given) == expected


@pytest.mark.parametrize(
    ("gold", "given", "v1", "v2"),
    [
        ("The.", "an", 0, 1),
        ("", "x", 0, 0),
        ("a b", "", 0, 0),
        ("x x y", "x", 0.5, 0.5),
    ],
)
def test_f1_of_empty_answers_differs_between_the_versions(gold, given, v1, v2):
    assert squad.f1_score(gold, given, both_empty=0) == v1
    assert squad.f1_score(gold, given) == v2


def test_threshold_is_applied_to_answers_over_it_only():
    questions = squad.read_questions(TINY)
    predictions = {q.id: q.answers[0].text if q.answers else "x" for q in questions}
    odds = {q.id: 2.0 for q in questions}
    at = squad.evaluate_v2(questions, predictions, odds, na_prob_thresh=2.0)
    under = squad.evaluate_v2(questions, predictions, odds, na_prob_thresh=1.99)
    assert (at["HasAns_exact"], at["NoAns_exact"]) == (100.0, 0.0)
    assert (under["HasAns_exact"], under["NoAns_exact"]) == (0.0, 100.0)


def test_missing_predictions():
    questions = squad.read_questions(TINY)
    full = CASES[0]["predictions"]
    part = {key: full[key] for key in ("q-a1", "q-n1")}
    with pytest.raises(
        UserError, match="no prediction for 4 of 6 questions: 'q-a2', 'q-"
    ):
        squad.evaluate_v2(questions, part)
    with pytest.raises(UserError, match="no no-answer number for 4 of 6 questions"):
        squad.evaluate_v2(questions, full, {"q-a1": 0.0, "q-n1": 0.0})
    with pytest.raises(UserError, match="q-n1.*score this file as version 2.0"):
        squad.evaluate_v1(questions, full)
    with pytest.raises(UserError, match="there are no questions"):
        squad.evaluate_v2([], full)


def test_predictions_of_other_questions_do_not_count():
    questions = squad.read_questions(TINY)
    case = CASES[1]
    more = {**case["predictions"], "other": "x"}
    odds = {**case["null_odds"], "other": -100.0}
    found = squad.evaluate_v2(questions, more, odds)
    assert found == case["v2_with_na_prob_file_default_thresh_1"]


@pytest.mark.parametrize("metric", ["exact", "f1"])
@pytest.mark.parametrize("seed", range(8))
def test_best_threshold_is_the_best_of_all(metric, seed):
    questions = squad.read_questions(TINY)
    draw = random.Random(seed)
    texts = ["1895", "Japan", "the mill", "Berkhamsted", "Zoë", "in 1895", ""]
    candidates = {question.id: draw.choice(texts) for question in questions}
    # Few values, so that there are ties.
    odds = {question.id: draw.randint(-2, 2) / 2 for question in questions}
    best = squad.find_best_threshold(questions, candidates, odds, metric)

    def scores(threshold):
        chosen = squad.apply_threshold(candidates, odds, threshold)
        return squad.evaluate_v2(questions, chosen)

    at = scores(best.threshold)
    assert (best.exact, best.f1) == (at["exact"], at["f1"])
    every = [scores(t)[metric] for t in itertools.chain([-9], odds.values())]
    assert at[metric] == pytest.approx(max(every), abs=1e-9)


def test_best_threshold_can_be_to_answer_nothing():
    questions = squad.read_questions(TINY)
    odds = {question.id: -5.0 for question in questions}
    best = squad.find_best_threshold(questions, dict.fromkeys(odds, "wrong"), odds)
    assert best.threshold < -5.0
    assert best.exact == pytest.approx(100 * 2 / 6)
    with pytest.raises(UserError, match="unknown metric 'em'"):
        squad.find_best_threshold(questions, odds, odds, "em")


def qa(**changes):
    entry = {"id": "q", "question": "why?", "answers": [{"text": "b"}]}
    entry.update(changes)
    return {key: value for key, value in entry.items() if value is not ...}


def in_file(*entries, context="a b"):
    return {"data": [{"paragraphs": [{"context": context, "qas": list(entries)}]}]}


AT = r"d\.json: data\[0\]\.paragraphs\[0\]"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], r"d\.json: a JSON object is needed, got a list"),
        ({"dat": []}, r"d\.json: the top level: 'data' is missing"),
        ({"data": {}}, r"'data' has to be a list, got an object"),
        ({"data": []}, r"d\.json has no questions"),
        ({"data": [3]}, r"d\.json: data\[0\]: an object is needed, got an integer"),
        ({"data": [{}]}, r"d\.json: data\[0\]: 'paragraphs' is missing"),
        (in_file(context=None), AT + ": 'context' has to be a string, got null"),
        (in_file(qa(id=5)), AT + r"\.qas\[0\]: 'id' has to be a string, got an int"),
        (in_file(qa(question=...)), r"qas\[0\] \(id 'q'\): 'question' is missing"),
        (in_file(qa(answers=...)), r"\(id 'q'\): 'answers' is missing"),
        (in_file(qa(answers=["b"])), r"answers\[0\]: an object is needed"),
        (in_file(qa(answers=[{}])), r"answers\[0\]: 'text' is missing"),
        (
            in_file(qa(answers=[{"text": "b", "answer_start": True}])),
            r"answers\[0\]: 'answer_start' has to be an integer, got true or false",
        ),
        (in_file(qa(is_impossible="no")), "'is_impossible' has to be true or false"),
        (in_file(qa(), qa()), r"qas\[1\] \(id 'q'\): the id is not unique"),
    ],
)
def test_broken_questions_are_named(tmp_path, content, said):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said) as caught:
        squad.read_questions(path)
    assert "\n" not in str(caught.value)


def test_names_from_files_are_quoted_and_short(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(in_file(qa(id="x\n" * 500, question=5))))
    with pytest.raises(
        UserError, match=r"\(id 'x\\nx.*\.\.\.'\): 'question' has"
    ) as caught:
        squad.read_questions(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    text = squad.missing_text("prediction", list("abcdefg"), 9)
    assert text == "no prediction for 7 of 9 questions: 'a', 'b', 'c', 'd', 'e', ..."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"data": [\n{"title": }\n]}', r"d\.json:2: no valid JSON, Expecting value"),
        (b"[" * 200_000, r"no valid JSON"),
        (b'{"data": ' + b"9" * 5000 + b"}", "no valid JSON"),
        (b'{"data":\n "\xff"}', r"d\.json:2: not valid UTF-8"),
    ],
)
def test_broken_json_is_named_by_line(tmp_path, content, said):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        squad.read_questions(path)


def test_too_large_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(squad, "MAX_FILE_BYTES", 10)
    path = tmp_path / "d.json"
    path.write_text('{"data": []}')
    with pytest.raises(UserError, match="12 bytes, the limit is 10"):
        squad.read_questions(path)


def test_test_sets_have_no_answers(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(in_file(qa(answers=...))))
    (question,) = squad.read_questions(path, need_answers=False)
    assert question.answers == () and question.is_impossible is None


def test_read_predictions_and_numbers(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"a": "x", "b": ""}')
    assert squad.read_predictions(path) == {"a": "x", "b": ""}
    path.write_text('{"a": 1.5, "b": -2}')
    assert squad.read_na_probs(path) == {"a": 1.5, "b": -2}
    with pytest.raises(UserError, match=r"p\.json: 'a' has to be a string, got a num"):
        squad.read_predictions(path)
    for bad in ("true", '"x"', "NaN", "Infinity", "1e999", "9" * 400, "null"):
        path.write_text(f'{{"a": 0, "b": {bad}}}')
        with pytest.raises(UserError, match=r"'b' has to be a finite number"):
            squad.read_na_probs(path)
