"""The graph tokenizer against the original and the Python one."""

import json
import logging
import random
import warnings

import pytest
import tensorflow as tf

from tests.helpers import golden, run_python
from tests.text import reference
from tests.text.reference import CASES, LANGUAGES
from tfdl.engine.errors import UserError
from tfdl.text.graph import GraphBertTokenizer, truncated_lengths
from tfdl.text.vocab import SPECIALS, load_vocab
from tfdl.text.wordpiece import BertTokenizer

VOCAB = load_vocab(golden("bert", "tf1", "vocab.txt"))
TEXTS = [case["text"] for case in CASES] + LANGUAGES


def tokenize(tokenizer, texts):
    return tokenizer.tokenize(tf.constant(texts, tf.string)).to_list()


def words(tokenizer, texts):
    rows = tokenizer.words(tf.constant(texts, tf.string)).to_list()
    return [[word.decode() for word in row] for row in rows]


def test_equals_the_original():
    found = tokenize(GraphBertTokenizer(VOCAB), [case["text"] for case in CASES])
    assert len(found) == 224
    for case, ids in zip(CASES, found, strict=True):
        assert ids == case["ids"], case


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_equals_python(lower, split):
    python = BertTokenizer(VOCAB, lower, split)
    found = tokenize(GraphBertTokenizer(VOCAB, lower, split), TEXTS)
    for text, ids in zip(TEXTS, found, strict=True):
        assert ids == python.encode(text), ascii(text)
    assert (python.mask_id in sum(found, [])) is not split


@pytest.mark.parametrize("lower", [True, False])
def test_words_equal_the_reference(lower):
    found = words(GraphBertTokenizer(VOCAB, lower), TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        assert row == reference.basic(text, lower), ascii(text)


@pytest.mark.parametrize("lower", [True, False])
def test_every_assigned_character(lower):
    chars = reference.assigned()
    python, graph = BertTokenizer(VOCAB, lower), GraphBertTokenizer(VOCAB, lower)
    different = set()
    # What stands before and after a sigma decides on its form.
    for pattern in ("a%sb", "α%sΣ", "αΣ%sα") if lower else ("a%sb",):
        texts = [pattern % char for char in chars]
        for char, text, row in zip(chars, texts, words(graph, texts), strict=True):
            if row != python.basic(text):
                different.add(char)
    assert different <= (reference.new_with_case() if lower else set())


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_random_mixtures(lower, split):
    generator = random.Random(5)
    rare = sorted(set(reference.assigned()) - reference.new_with_case())
    common = [*"ΣσςΑaB. ,'\u0301\u0345\xad\u200d\u2028\xa0\t\x0b\x85İıßﬁ中\ufffd\0’"]
    common += ["[MASK]", "[SEP]", "[UNK", "]"]
    texts = []
    for _ in range(3000):
        chars = [
            generator.choice(common if generator.random() < 0.7 else rare)
            for _ in range(generator.randrange(1, 20))
        ]
        texts.append("".join(chars))
    python = BertTokenizer(VOCAB, lower, split)
    found = tokenize(GraphBertTokenizer(VOCAB, lower, split), texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids == python.encode(text), ascii(text)


def test_random_vocabularies():
    generator = random.Random(0)
    for _ in range(40):
        pieces = set()
        for _ in range(generator.randrange(2, 40)):
            piece = "".join(generator.choices("abé中#", k=generator.randrange(1, 6)))
            pieces.add(generator.choice(["", "##"]) + piece)
        pieces = sorted(pieces)
        generator.shuffle(pieces)
        vocab = [*SPECIALS, *pieces, "##", "", *pieces[:2]]
        texts = ["".join(generator.choices("abé中# ", k=20)) for _ in range(40)]
        python = BertTokenizer(vocab, do_lower_case=False)
        found = tokenize(GraphBertTokenizer(vocab, do_lower_case=False), texts)
        assert found == [python.encode(text) for text in texts], vocab


def test_bytes_that_are_not_utf8_are_skipped():
    generator = random.Random(1)
    parts = [bytes([i]) for i in range(256)]
    parts += [b"hello", b" ", "é中😀".encode()]
    parts += [b"\xed\xa0\x80", b"\xc0\x80", b"\xe4\xb8", b"\xf4\x90\x80\x80"]
    texts = [b"".join(generator.choices(parts, k=12)) for _ in range(3000)]
    python = BertTokenizer(VOCAB)
    for text, ids in zip(
        texts, tokenize(GraphBertTokenizer(VOCAB), texts), strict=True
    ):
        assert ids == python.encode(text), text


def test_very_long_lines():
    texts = ["the " * 500_000, "x" * 2_000_000, "中" * 300_000, "." * 300_000]
    rows = GraphBertTokenizer(VOCAB).tokenize(tf.constant(texts))
    assert rows.row_lengths().numpy().tolist() == [500_000, 1, 300_000, 300_000]


def test_no_strings():
    tokenizer = GraphBertTokenizer(VOCAB)
    none = tf.zeros([0], tf.string)
    assert tokenizer.tokenize(none).to_list() == []
    assert tokenizer.pack(none, none)["token_ids"].shape[0] == 0
    assert tokenizer.decode(tf.zeros([0, 0], tf.int32)).shape == [0]


def test_later_duplicates_win():
    assert tokenize(GraphBertTokenizer([*VOCAB, "hello"]), ["hello"]) == [[len(VOCAB)]]


def test_vocabularies_that_cannot_be_used():
    with pytest.raises(UserError, match=r"lacks \[UNK\]"):
        GraphBertTokenizer(["a"])
    with pytest.raises(UserError, match="token 5 .* 400 bytes"):
        GraphBertTokenizer([*SPECIALS, "é" * 200])
    # Longer than any word that is looked up: it can be left out.
    assert tokenize(GraphBertTokenizer([*SPECIALS, "é" * 300]), ["é"]) == [[1]]
    with pytest.raises(UserError, match=r"lacks \[CLS\]"):
        GraphBertTokenizer(["[UNK]", "a"]).pack(tf.constant(["a"]))


def test_pair_truncation_in_closed_form():
    def pop(a, b, room):
        while a + b > room:
            if a > b:
                a -= 1
            else:
                b -= 1
        return a, b

    grid = [(a, b, room) for a in range(12) for b in range(12) for room in range(15)]
    a, b, room = (tf.constant(column, tf.int64) for column in zip(*grid, strict=True))
    kept = tf.stack(truncated_lengths(a, b, room), axis=1).numpy().tolist()
    assert kept == [list(pop(*case)) for case in grid]


@pytest.mark.parametrize("length", [3, 4, 5, 8, 21, 64])
@pytest.mark.parametrize("pairs", [True, False])
def test_pack_equals_the_reference(length, pairs):
    generator = random.Random(length)
    python, graph = BertTokenizer(VOCAB), GraphBertTokenizer(VOCAB)
    choices = ["hello", "the", "lazy", "zzz", ",", "中", "\u200b", ""]

    def text():
        if generator.random() < 0.2:
            return generator.choice(["", "  ", "\u200b"])
        return " ".join(generator.choices(choices, k=generator.randrange(30)))

    a = [text() for _ in range(60)]
    b = [text() for _ in range(60)]
    packed = graph.pack(tf.constant(a), tf.constant(b) if pairs else None, length)
    expected = [
        reference.pack(
            python.encode(x),
            python.encode(y) if pairs else [],
            length,
            python.cls_id,
            python.sep_id,
        )
        for x, y in zip(a, b, strict=True)
    ]
    width = max(len(tokens) for tokens, _ in expected)
    assert width <= length
    for name in ("token_ids", "segment_ids", "padding_mask"):
        assert packed[name].dtype == tf.int32
        assert packed[name].shape == (60, width)
    for i, (tokens, segments) in enumerate(expected):
        pad = [0] * (width - len(tokens))
        assert packed["token_ids"][i].numpy().tolist() == tokens + pad
        assert packed["segment_ids"][i].numpy().tolist() == segments + pad
        assert packed["padding_mask"][i].numpy().tolist() == [1] * len(tokens) + pad


def test_pack_to_a_fixed_length():
    tokenizer = GraphBertTokenizer(VOCAB)
    packed = tokenizer.pack(tf.constant(["one"]), max_seq_length=20, dynamic=False)
    assert {value.shape.as_list()[1] for value in packed.values()} == {20}


def test_pack_without_room():
    tokenizer, text = GraphBertTokenizer(VOCAB), tf.constant(["one"])
    assert tokenizer.pack(text, max_seq_length=2)["token_ids"].shape == (1, 2)
    with pytest.raises(UserError, match="max_seq_length is 1"):
        tokenizer.pack(text, max_seq_length=1)
    with pytest.raises(UserError, match="max_seq_length is 2"):
        tokenizer.pack(text, text, max_seq_length=2)


def test_decode_equals_python():
    python, graph = BertTokenizer(VOCAB), GraphBertTokenizer(VOCAB)
    generator = random.Random(2)
    rows = [python.encode(text) for text in TEXTS]
    rows += [generator.choices(range(-2, len(VOCAB) + 2), k=15) for _ in range(300)]
    found = graph.decode(tf.ragged.constant(rows, tf.int32))
    for row, text in zip(rows, found.numpy(), strict=True):
        assert text.decode() == python.decode(row), row
    text = "the lazy dog, (one) jumps over."
    packed = graph.pack(tf.constant([text, ""]))["token_ids"]
    assert graph.decode(packed).numpy().tolist() == [text.encode(), b""]


def test_detokenize_keeps_the_shape():
    tokens = GraphBertTokenizer(VOCAB).detokenize(tf.constant([[[0, 2], [8, 9]]]))
    assert tokens.shape == (1, 2, 2)
    assert tokens[0, 0, 1] == VOCAB[2]


def test_tracing_is_quiet_and_done_once(caplog):
    tokenizer = GraphBertTokenizer(VOCAB, split_special_tokens=False)
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
    def run(a, b):
        traces.append(1)
        packed = tokenizer.pack(a, b, 32)
        return packed, tokenizer.decode(packed["token_ids"])

    # TensorFlow's logger does not hand its messages on.
    tf.get_logger().addHandler(caplog.handler)
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
            warnings.simplefilter("error")
            for size in range(4):
                texts = tf.constant(["the dog"] * size, tf.string)
                run(texts, texts)
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert caplog.records == []
    assert len(traces) == 1


def test_in_a_dataset():
    tokenizer = GraphBertTokenizer(VOCAB)
    texts = ["hello hello hello", "hello", "hello hello"]
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(2)
    dataset = dataset.map(lambda x: tokenizer.pack(x, max_seq_length=16))
    assert dataset.element_spec["token_ids"].shape.as_list() == [None, None]
    widths = [batch["token_ids"].shape[1] for batch in dataset]
    assert widths == [5, 4]


LOAD = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, data = sys.argv[1:]
texts = json.load(open(data))
loaded = tf.saved_model.load(folder)
tokens = loaded.run(tf.constant(texts))
pairs = loaded.pair(tf.constant(texts), tf.constant(texts[::-1]))
pairs = {name: value.numpy().tolist() for name, value in pairs.items()}
text = [x.decode() for x in loaded.decode(tokens).numpy()]
assert not any(name.split(".")[0] == "tfdl" for name in sys.modules)
print(json.dumps([tokens.numpy().tolist(), pairs, text]))
"""


@pytest.mark.parametrize(("lower", "split"), [(True, True), (False, False)])
def test_saved_and_loaded_without_this_package(tmp_path, lower, split):
    module = tf.Module()
    module.tokenizer = tokenizer = GraphBertTokenizer(VOCAB, lower, split)
    strings = tf.TensorSpec([None], tf.string)
    ids = tf.TensorSpec([None, None], tf.int32)
    module.run = tf.function(
        lambda x: tokenizer.tokenize(x).to_tensor(), input_signature=[strings]
    )
    module.pair = tf.function(
        lambda a, b: tokenizer.pack(a, b, 24), input_signature=[strings, strings]
    )
    module.decode = tf.function(tokenizer.decode, input_signature=[ids])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    data = tmp_path / "texts.json"
    data.write_text(json.dumps(TEXTS))
    done = run_python("-c", LOAD, str(tmp_path / "saved"), str(data))
    assert done.returncode == 0, done.stderr
    tokens, pairs, decoded = json.loads(done.stdout)

    python = BertTokenizer(VOCAB, lower, split)
    width = len(tokens[0])
    for i, text in enumerate(TEXTS):
        encoded = python.encode(text)
        padding = [python.pad_id] * (width - len(encoded))
        assert tokens[i] == encoded + padding, ascii(text)
        assert decoded[i] == python.decode(tokens[i])
    local = tokenizer.pack(tf.constant(TEXTS), tf.constant(TEXTS[::-1]), 24)
    assert pairs == {name: value.numpy().tolist() for name, value in local.items()}
