"""The Python and the graph tokenizer against the original, and each other."""

import json
import random
import sys
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden, run_python
from tfdl.text.graph import GraphBertTokenizer, truncated_lengths
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

VOCAB = load_vocab(golden("bert", "tf1", "vocab.txt"))
CASES = json.loads(golden("bert", "tokenizer_cases.json").read_text())["cases"]


def ragged(tokenizer, texts):
    return tokenizer.tokenize(tf.constant(texts)).to_list()


def test_python_equals_the_original():
    tokenizer = BertTokenizer(VOCAB)
    for case in CASES:
        assert tokenizer.basic(case["text"]) == case["basic"], case
        assert tokenizer.tokenize(case["text"]) == case["tokens"], case
        assert tokenizer.encode(case["text"]) == case["ids"], case


def test_graph_equals_the_original():
    texts = [case["text"].encode("utf-8", "surrogatepass") for case in CASES]
    found = ragged(GraphBertTokenizer(VOCAB), texts)
    for case, ids in zip(CASES, found, strict=True):
        assert ids == case["ids"], case


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_graph_equals_python(lower, split):
    texts = [case["text"] for case in CASES]
    texts += [
        "a [MASK] b[SEP]c [UNK]",
        "[mask] [MASK",
        "",
        "   ",
        "中文字符 mixed 日本語 한국어",
        "x" * 200,
        "x" * 201,
        "é" * 150,
    ]
    python = BertTokenizer(VOCAB, lower, split)
    graph = GraphBertTokenizer(VOCAB, lower, split)
    expected = [python.encode(text) for text in texts]
    found = ragged(graph, [text.encode("utf-8", "ignore") for text in texts])
    for text, left, right in zip(texts, found, expected, strict=True):
        assert left == right, repr(text)


def _random_texts(count):
    generator = random.Random(7)
    ranges = [
        (32, 127),
        (0x80, 0x250),
        (0x370, 0x600),
        (0x900, 0xA00),
        (0x2000, 0x2C00),
    ]
    ranges += [(0x3000, 0x3200), (0x4E00, 0x4F00), (0xFB00, 0xFFFE), (0x1F300, 0x1F700)]
    texts = []
    while len(texts) < count:
        chars = []
        for _ in range(generator.randrange(1, 40)):
            char = chr(generator.randrange(*generator.choice(ranges)))
            if unicodedata.category(char) not in ("Cn", "Cs"):
                chars.append(char)
        texts.append("".join(chars))
    return texts


@pytest.mark.parametrize("lower", [True, False])
def test_graph_equals_python_on_random_text(lower):
    # Characters assigned after Unicode 12 may be classified by one side only.
    texts = _random_texts(800)
    python, graph = BertTokenizer(VOCAB, lower), GraphBertTokenizer(VOCAB, lower)
    found = graph.words(tf.constant(texts)).to_list()
    different = [
        (text, words)
        for text, words in zip(texts, found, strict=True)
        if [word.decode() for word in words] != python.basic(text)
    ]
    assert not different, different[:3]


def test_invalid_utf8_is_skipped_by_both():
    data = b"hello \xff\xfeworld\xc3"
    assert ragged(GraphBertTokenizer(VOCAB), [data]) == [
        BertTokenizer(VOCAB).encode(data)
    ]


def test_a_very_long_line():
    texts = ["word " * 400_000, "x" * 2_000_000]
    lengths = GraphBertTokenizer(VOCAB).tokenize(tf.constant(texts)).row_lengths()
    assert lengths[1] == 1
    assert lengths[0] % 400_000 == 0


def test_later_duplicates_win():
    vocab = [*VOCAB, "hello"]
    assert BertTokenizer(vocab).encode("hello") == [len(VOCAB)]
    assert ragged(GraphBertTokenizer(vocab), ["hello"]) == [[len(VOCAB)]]


def _truncate_pair(a, b, room):
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return a, b


def test_pair_truncation_in_closed_form():
    grid = [(a, b, room) for a in range(12) for b in range(12) for room in range(15)]
    a, b, room = (tf.constant(column, tf.int64) for column in zip(*grid, strict=True))
    keep_a, keep_b = truncated_lengths(a, b, room)
    for i, (x, y, r) in enumerate(grid):
        assert (int(keep_a[i]), int(keep_b[i])) == _truncate_pair(x, y, r), grid[i]


def test_pack():
    tokenizer, python = GraphBertTokenizer(VOCAB), BertTokenizer(VOCAB)
    a = ["hello world " * 5, "the lazy dog", "one", ""]
    b = ["the quick brown fox jumps", "", "two three " * 9, "\u200b"]
    packed = tokenizer.pack(tf.constant(a), tf.constant(b), max_seq_length=20)
    for i in range(4):
        x, y = python.encode(a[i]), python.encode(b[i])
        x_length, y_length = _truncate_pair(len(x), len(y), 20 - (3 if y else 2))
        x, y = x[:x_length], y[:y_length]
        ids = [python.cls_id, *x, python.sep_id]
        segments = [0] * len(ids)
        if y:
            ids += [*y, python.sep_id]
            segments += [1] * (len(y) + 1)
        width = packed["token_ids"].shape[1]
        pad = [0] * (width - len(ids))
        assert packed["token_ids"][i].numpy().tolist() == ids + pad
        assert packed["segment_ids"][i].numpy().tolist() == segments + pad
        assert packed["padding_mask"][i].numpy().tolist() == [1] * len(ids) + pad
    assert packed["token_ids"].shape[1] == 20
    fixed = tokenizer.pack(tf.constant(["one"]), max_seq_length=20, dynamic=False)
    assert fixed["token_ids"].shape == (1, 20)


def test_saved_and_loaded_without_this_package(tmp_path):
    module = tf.Module()
    module.tokenizer = GraphBertTokenizer(VOCAB)
    module.run = tf.function(
        lambda text: module.tokenizer.tokenize(text).to_tensor(),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "m"))
    code = (
        "import tensorflow as tf, tensorflow_text, json, sys;"
        f"m = tf.saved_model.load({str(tmp_path / 'm')!r});"
        "print(m.run(tf.constant(['Hello, World!'])).numpy().tolist());"
        "assert 'tfdl' not in sys.modules"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[576, 19, 632, 9]]


def test_decode():
    tokenizer = BertTokenizer(VOCAB)
    text = "the quick brown fox (one) jumps, over the lazy dog."
    ids = [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
    assert tokenizer.decode(ids) == text
    assert np.array(ids).max() < len(VOCAB)


def test_python_version_is_the_one_unicode_was_checked_on():
    assert sys.version_info >= (3, 10)
