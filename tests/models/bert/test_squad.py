"""SQuAD's examples and windows against run_squad.py's, and their invariants."""

import json
import random

import numpy as np
import pytest

from tests.models.bert.squad_cases import CASES, TOKENIZER, windows
from tfdl.engine.errors import UserError
from tfdl.models.bert import squad

WORDS = (
    "The Norman leader was John Smith (1895-1943). He founded Rouen's café « Zoë » "
    "naïve façade — 漢字 x\u00a0y a\u200bb Straße İstanbul ﬁne \u0001 1,000 12.5% don't"
).split(" ")


@pytest.mark.parametrize("case", CASES)
def test_windows_equal_the_original(case):
    found = windows(case)
    assert len(found) == len(case["features"])
    for window, want in zip(found, case["features"], strict=True):
        for name in ("unique_id", "example_index", "doc_span_index"):
            assert getattr(window, name) == want[name]
        count = len(want["tokens"])
        ids = window.features["token_ids"]
        assert [TOKENIZER.vocab[i] for i in ids] == want["tokens"]
        assert ids.tolist() == want["input_ids"][:count]
        assert window.features["segment_ids"].tolist() == want["segment_ids"][:count]
        start = window.doc_offset
        words = {str(start + i): int(w) for i, w in enumerate(window.word_of)}
        assert words == want["token_to_orig_map"]
        most = {str(start + i): bool(x) for i, x in enumerate(window.is_max_context)}
        assert most == want["token_is_max_context"]
        assert (window.start_position, window.end_position) == (0, 0)


@pytest.mark.parametrize("case", CASES)
def test_training_positions_equal_the_original(case):
    found = [
        {"unique_id": w.unique_id, "start": w.start_position, "end": w.end_position}
        for w in windows(case, is_training=True)
    ]
    assert found == case["train_positions"]
    assert any(row["start"] for row in found)


def passage(draw):
    spaces = [" "] * 8 + ["  ", "\t", "\n", "\u202f", " \r\n"]
    text = draw.choice(["", "", " \n"])
    for _ in range(draw.randint(1, 80)):
        text += draw.choice(WORDS) + draw.choice(spaces)
    return text


@pytest.mark.parametrize("seed", range(10))
def test_every_character_is_in_the_right_word(seed):
    text = passage(random.Random(seed))
    words, starts = squad.split_words(text)
    # The original's loop over characters.
    expected, owners, inside = [], [], False
    for char in text:
        if char in " \t\r\n\u202f":
            inside = False
        elif inside:
            expected[-1] += char
        else:
            expected.append(char)
            inside = True
        owners.append(max(len(expected) - 1, 0))
    assert words == expected
    assert [squad.word_at(starts, i) for i in range(len(text))] == owners


@pytest.mark.parametrize("seed", range(10))
def test_windows_cover_all_tokens(seed):
    draw = random.Random(seed)
    example = squad.SquadExample(
        "q", "Who was John Smith?", squad.split_words(passage(draw))[0]
    )
    length, stride = draw.choice([20, 40]), draw.choice([1, 7, 50])
    found = list(
        squad.convert_examples_to_features([example], TOKENIZER, length, stride, 6)
    )
    tokens = [(i, t) for i, w in enumerate(example.words) for t in TOKENIZER.encode(w)]
    room = length - found[0].doc_offset - 1
    covered = np.zeros(len(tokens), int)
    most = np.zeros(len(tokens), int)
    for number, window in enumerate(found):
        start = number * min(stride, room)
        ids = window.features["token_ids"]
        assert len(ids) <= length
        assert ids[0] == TOKENIZER.cls_id and ids[-1] == TOKENIZER.sep_id
        part = tokens[start : start + len(window.word_of)]
        assert part == list(
            zip(
                window.word_of.tolist(),
                ids[window.doc_offset : -1].tolist(),
                strict=True,
            )
        )
        covered[start : start + len(part)] += 1
        most[start : start + len(part)] += window.is_max_context
    assert covered.min() >= 1
    assert (most == 1).all()


def test_longer_windows_count_for_a_hundredth_of_their_length():
    """Of windows [0, 300) and [200, 350), the first keeps 49 against 50 tokens."""
    example = squad.SquadExample("q", "", ["the"] * 350)
    first, second = squad.convert_examples_to_features([example], TOKENIZER, 303, 200)
    assert (len(first.word_of), len(second.word_of)) == (300, 150)
    assert first.is_max_context.tolist() == [True] * 251 + [False] * 49
    assert second.is_max_context.tolist() == [False] * 51 + [True] * 99


def write(tmp_path, *entries, context="a b c"):
    path = tmp_path / "train.json"
    content = {"data": [{"paragraphs": [{"context": context, "qas": list(entries)}]}]}
    path.write_text(json.dumps(content))
    return path


def entry(text=None, start=None, key="q", **more):
    answers = [] if text is None else [{"text": text, "answer_start": start}]
    return {"id": key, "question": "who?", "answers": answers, **more}


@pytest.mark.parametrize("seed", range(10))
def test_positions_recover_the_answer(tmp_path, seed):
    draw = random.Random(seed)
    context = passage(draw)
    _, starts = squad.split_words(context)
    entries = []
    for i in range(20):
        first = int(draw.choice(starts))
        text = context[first : first + draw.randint(1, 30)].rstrip()
        entries.append(entry(text, first, f"q{i}"))
    path = write(tmp_path, *entries, context=context)
    made = squad.read_examples(path, is_training=True)
    checked = 0
    for window in squad.convert_examples_to_features(
        made, TOKENIZER, 40, 10, 6, is_training=True
    ):
        example = made[window.example_index]
        first, last = window.start_position, window.end_position
        if first == 0:
            continue
        assert window.doc_offset <= first <= last
        ids = window.features["token_ids"][first : last + 1].tolist()
        answer = TOKENIZER.encode(example.answer)
        around = example.words[example.start : example.end + 1]
        allowed = [answer, [t for word in around for t in TOKENIZER.encode(word)]]
        # All tokens of the words only where the answer is not a run of them.
        if ids != answer:
            assert ids == allowed[1]
            runs = [ids[i : i + len(answer)] for i in range(len(ids))]
            assert answer not in runs
        checked += 1
    assert checked


def test_the_questions_of_a_passage_share_its_words(tmp_path):
    path = write(tmp_path, entry("a", 0, "q1"), entry("b", 2, "q2"))
    first, second = squad.read_examples(path, is_training=True)
    assert first.words is second.words
    assert (second.answer, second.start, second.end) == ("b", 1, 1)


def test_lost_answers_are_dropped_and_counted(tmp_path, caplog):
    context = " a b\u00a0c d"
    path = write(
        tmp_path,
        entry("d", 7, "good"),
        entry("b\u00a0c", 3, "no-break space"),
        entry("x", 3, "another"),
        entry(" ", 2, "blank"),
        entry(" a", 0, "leading"),
        context=context,
    )
    with caplog.at_level("WARNING"):
        found = squad.read_examples(path, is_training=True)
    assert [example.id for example in found] == ["good", "leading"]
    assert "3 of 5 questions dropped" in caplog.text
    assert "(e.g. 'no-break space', 'another', 'blank')" in caplog.text
    # Without training, no question is lost.
    assert len(squad.read_examples(path, is_training=False)) == 5


@pytest.mark.parametrize(
    ("question", "version_2", "said"),
    [
        (entry("c", 5), False, r"answer_start 5 with 1 .* outside the context of 5"),
        (entry("b c d", 2), False, "answer_start 2 with 5 characters of text is outs"),
        (entry("a", -1), False, "answer_start -1 with 1 characters"),
        (entry("", 1), False, r"answers\[0\]: 'text' is empty"),
        (entry(), False, "exactly one answer, got 0; version 2.0 allows"),
        (entry("a", 0), True, "'is_impossible' is missing; a file of version 1.1"),
        (entry(is_impossible=False), True, "exactly one answer, got 0$"),
        ({**entry("a", 0), "answers": [{"text": "a"}]}, False, "'answer_start' is mis"),
        (
            {**entry(), "answers": [{"text": "a", "answer_start": 0}] * 2},
            False,
            "exactly one answer, got 2",
        ),
    ],
)
def test_answers_that_cannot_be_learned_from(tmp_path, question, version_2, said):
    path = write(tmp_path, question)
    with pytest.raises(UserError, match=said) as caught:
        squad.read_examples(path, True, version_2)
    where = f"{path}: data[0].paragraphs[0].qas[0] (id 'q')"
    assert str(caught.value).startswith(where) and "\n" not in str(caught.value)


def test_impossible_questions_point_at_cls(tmp_path):
    path = write(tmp_path, entry("a", 0, is_impossible=True))
    made = squad.read_examples(path, True, version_2=True)
    assert made[0].is_impossible and made[0].answer == ""
    found = squad.convert_examples_to_features(made, TOKENIZER, is_training=True)
    assert [(w.start_position, w.end_position) for w in found] == [(0, 0)]


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ((67, 128, 64), "max_seq_length 67 has to be over max_query_length 64"),
        ((384, 0, 64), "doc_stride has to be 1 or more, got 0"),
        ((384, 128, -1), "max_query_length -1"),
    ],
)
def test_lengths_without_room(lengths, said):
    with pytest.raises(UserError, match=said):
        squad.convert_examples_to_features([], TOKENIZER, *lengths)


def test_answer_features():
    text = "John Smith was here."
    example, found = squad.answer_features("who was here", text, TOKENIZER, 16, 4, 8)
    assert example.words == text.split()
    assert [window.unique_id for window in found] == [
        squad.FIRST_UNIQUE_ID + i for i in range(len(found))
    ]
    assert len(found) > 1
    for blank in ("", " \n", "\u200b"):
        with pytest.raises(UserError, match="the passage has no words"):
            squad.answer_features("who?", blank, TOKENIZER)


def test_many_windows_take_little_time():
    """A passage of 200,000 tokens: the windows' context is not compared in pairs."""
    example = squad.SquadExample("q", "who?", ["the"] * 200_000)
    found = list(squad.convert_examples_to_features([example], TOKENIZER, 384, 64, 16))
    assert len(found) == 1 + -(-(200_000 - 384 + found[0].doc_offset + 1) // 64)
    assert sum(int(window.is_max_context.sum()) for window in found) == 200_000
