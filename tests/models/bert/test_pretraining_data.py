"""Pretraining instances against the original's, seed for seed."""

import dataclasses
import json
import random

import pytest

from tests.helpers import golden
from tfdl.models.bert import pretraining_data as data
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

VOCAB = load_vocab(golden("bert", "tf1", "vocab.txt"))
SETTINGS = data.Settings(max_seq_length=40, max_predictions_per_seq=6, dupe_factor=2)


def corpus(tokenizer):
    lines = golden("bert", "pretrain_corpus.txt").read_text().splitlines()
    return data.read_documents(lines, tokenizer)


@pytest.mark.parametrize("kind", ["plain", "wwm"])
def test_instances_equal_the_original(kind):
    expected = json.loads(golden("bert", "pretraining_instances.json").read_text())[
        "instances"
    ]
    tokenizer = BertTokenizer(VOCAB)
    settings = dataclasses.replace(SETTINGS, do_whole_word_mask=kind == "wwm")
    found = data.create_instances(corpus(tokenizer), VOCAB, settings)
    rows = [dataclasses.asdict(instance) for instance in found]
    assert len(rows) == len(expected[kind])
    for row, want in zip(rows, expected[kind], strict=True):
        for key in row.keys() & want.keys():
            assert row[key] == want[key], key
        assert len(row.keys() & want.keys()) == 5


@pytest.mark.parametrize("whole_words", [False, True])
def test_invariants(whole_words):
    tokenizer = BertTokenizer(VOCAB)
    settings = dataclasses.replace(SETTINGS, do_whole_word_mask=whole_words)
    rng = random.Random(3)
    for instance in data.create_instances(corpus(tokenizer), VOCAB, settings, rng):
        count = len(instance.masked_lm_positions)
        assert 1 <= count <= min(6, max(1, round(0.15 * len(instance.tokens))))
        assert instance.masked_lm_positions == sorted(set(instance.masked_lm_positions))
        assert len(instance.tokens) <= 40
        assert instance.masked_lm_positions[0] > 0
        row = data.features(instance, tokenizer, settings)
        assert row["input_mask"].sum() == len(instance.tokens)
        assert row["masked_lm_weights"].sum() == count
