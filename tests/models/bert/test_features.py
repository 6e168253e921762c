"""Packing of texts, equal to the original's convert_single_example."""

import itertools
import json
import random

import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.models.bert import features
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

CASES = json.loads(golden("bert", "classifier_features.json").read_text("utf-8"))
VOCAB = load_vocab(golden("bert", "tf1", "vocab.txt"))
TOKENIZER = BertTokenizer(VOCAB)


@pytest.mark.parametrize("case", CASES["cases"])
def test_equals_the_original(case):
    length = case["max_seq_length"]
    row = features.convert(case["text_a"], case["text_b"], TOKENIZER, length)
    real = len(row["token_ids"])
    padding = [0] * (length - real)
    assert row["token_ids"] + padding == case["input_ids"]
    assert row["segment_ids"] + padding == case["segment_ids"]
    assert [1] * real + padding == case["input_mask"]
    assert CASES["label_list"].index(case["label"]) == case["label_id"]


def pop_until_it_fits(a, b, room):
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        if len(a) > len(b):
            a.pop()
        else:
            b.pop()
    return a, b


def test_the_first_ids_of_each_text_decide_how_a_pair_is_cut():
    for length, n, m in itertools.product((3, 4, 5, 8), range(12), range(1, 12)):
        a, b = list(range(100, 100 + n)), list(range(200, 200 + m))
        expected = features.pack(
            *pop_until_it_fits(a, b, length - 3), TOKENIZER, length
        )
        assert features.pack(a[:length], b[:length], TOKENIZER, length) == expected
        assert len(expected["token_ids"]) <= length


def test_a_second_text_that_is_cut_away_makes_a_single_sequence():
    row = features.pack([10, 11], [20], TOKENIZER, 4)
    assert row["token_ids"] == [TOKENIZER.cls_id, 10, TOKENIZER.sep_id]
    assert row["segment_ids"] == [0, 0, 0]


def test_no_room():
    with pytest.raises(UserError, match="max_seq_length 2 is too short"):
        features.pack([1], None, TOKENIZER, 2)


# What makes a cut visible: sigma's final form, marks that join what is before them,
# characters that are deleted, line and paragraph separators, special tokens.
PARTS = list("aΣΑσ.,:'!-()\"… \t\n\u2028\u3000。、中文ー\u0301\u200d\x1c\x85é7") + [
    "the river", "ran", "[MASK]", "ΟΔΟΣ", "x" * 30,
]  # fmt: skip


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("split_special", [True, False])
def test_stopping_early_changes_no_token(lower, split_special):
    tokenizer = BertTokenizer([*VOCAB, "ς", "σ", "##ς", "##σ"], lower, split_special)
    generator = random.Random(7)
    for _ in range(1500):
        text = "".join(generator.choices(PARTS, k=generator.randint(0, 60)))
        most = generator.randint(1, 6)
        expected = tokenizer.encode(text)[:most]
        assert features.first_ids(text, tokenizer, most) == expected, text


@pytest.mark.parametrize(
    "lower, cut",
    itertools.product((True, False), '!"(),-;?。、！？，；…\u4e2d \t\u2028'),
)
def test_cuts_stand_where_tokens_are_independent(lower, cut):
    tokenizer = BertTokenizer([*VOCAB, "ς", "σ", "##ς", "##σ"], lower)
    for left, right in itertools.product(PARTS, PARTS):
        whole = tokenizer.basic(left + cut + right)
        assert whole == tokenizer.basic(left + cut) + tokenizer.basic(right)


@pytest.mark.parametrize("unit", ["the river ", "中文", "かな。"])
def test_ten_megabytes_cost_their_beginning(unit):
    read = []

    class Recording(BertTokenizer):
        def encode(self, text):
            read.append(len(text))
            return super().encode(text)

    text = unit * (10_000_000 // len(unit.encode()))
    row = features.convert(text, text, Recording(VOCAB), 128)
    assert len(row["token_ids"]) == 128
    assert sum(read) < 10_000


def test_text_behind_megabytes_without_tokens_is_found():
    text = "\u200b " * 1_000_000 + "the river"
    expected = [TOKENIZER.cls_id, *TOKENIZER.encode("the river"), TOKENIZER.sep_id]
    assert features.convert(text, None, TOKENIZER, 128)["token_ids"] == expected
