"""The Python tokenizer against the original."""

import random

import pytest

from tests.helpers import golden
from tests.text import reference
from tests.text.reference import CASES, LANGUAGES
from tfdl.engine.errors import UserError
from tfdl.text.vocab import SPECIALS, load_vocab
from tfdl.text.wordpiece import BertTokenizer

VOCAB = load_vocab(golden("bert", "tf1", "vocab.txt"))


def test_equals_the_original():
    assert len(CASES) == 224
    tokenizer = BertTokenizer(VOCAB)
    for case in CASES:
        assert tokenizer.basic(case["text"]) == case["basic"], case
        assert tokenizer.tokenize(case["text"]) == case["tokens"], case
        assert tokenizer.encode(case["text"]) == case["ids"], case


def test_the_reference_equals_the_original():
    for case in CASES:
        assert reference.basic(case["text"], True) == case["basic"], case
        assert reference.encode(case["text"], VOCAB, True) == case["ids"], case


@pytest.mark.parametrize("lower", [True, False])
def test_equals_the_reference(lower):
    tokenizer = BertTokenizer(VOCAB, lower)
    for text in [case["text"] for case in CASES] + LANGUAGES:
        assert tokenizer.basic(text) == reference.basic(text, lower), ascii(text)
        assert tokenizer.encode(text) == reference.encode(text, VOCAB, lower)


@pytest.mark.parametrize("lower", [True, False])
def test_every_assigned_character(lower):
    text = " ".join(f"a{char}b" for char in reference.assigned())
    assert BertTokenizer(VOCAB, lower).basic(text) == reference.basic(text, lower)


@pytest.mark.parametrize("lower", [True, False])
def test_random_mixtures(lower):
    generator = random.Random(3)
    tokenizer, rare = BertTokenizer(VOCAB, lower), reference.assigned()
    common = (
        "ΣσςΑaB. ,'\u0301\u0345\xad\u200d\u2028\xa0\t\n\x0b\x1c\x85İıßﬁ中\ufffd\0;’"
    )
    for _ in range(4000):
        length = generator.randrange(1, 20)
        chars = [
            generator.choice(common if generator.random() < 0.7 else rare)
            for _ in range(length)
        ]
        text = "".join(chars)
        assert tokenizer.basic(text) == reference.basic(text, lower), ascii(text)


def test_cased_text_is_left_alone():
    tokenizer = BertTokenizer([*SPECIALS, "É", "E\u0301", "A"], do_lower_case=False)
    assert tokenizer.tokenize("É E\u0301 A a") == ["É", "E\u0301", "A", "[UNK]"]


def test_special_tokens_in_a_text():
    text = "a [MASK]b [mask] [MA\u200bSK]"
    split = BertTokenizer(VOCAB).tokenize(text)
    assert not set(split) & set(SPECIALS)
    whole = BertTokenizer(VOCAB, split_special_tokens=False)
    assert whole.tokenize(text).count("[MASK]") == 1
    assert whole.encode("[CLS][SEP] [PAD]") == whole.ids(["[CLS]", "[SEP]", "[PAD]"])
    few = BertTokenizer(["[UNK]", "mask", "[", "]"], split_special_tokens=False)
    assert few.tokenize("[MASK] [UNK]") == ["[", "mask", "]", "[UNK]"]


def test_long_words():
    tokenizer = BertTokenizer([*SPECIALS, "x", "##x"])
    assert tokenizer.tokenize("x" * 200) == ["x"] + ["##x"] * 199
    assert tokenizer.tokenize("x" * 201) == ["[UNK]"]
    assert tokenizer.tokenize("é" * 500_000) == ["[UNK]"]


def test_bytes_that_are_not_utf8_are_skipped():
    tokenizer = BertTokenizer(VOCAB)
    assert tokenizer.basic(b"he\xffllo \xfeworld\xc3") == ["hello", "world"]
    assert tokenizer.encode(b"\xff") == tokenizer.encode("") == []


def test_later_duplicates_win():
    assert BertTokenizer([*VOCAB, "hello"]).encode("hello") == [len(VOCAB)]


def test_ids_of_special_tokens():
    tokenizer = BertTokenizer(VOCAB)
    ids = [
        tokenizer.pad_id,
        tokenizer.unk_id,
        tokenizer.cls_id,
        tokenizer.sep_id,
        tokenizer.mask_id,
    ]
    assert [VOCAB[i] for i in ids] == list(SPECIALS)


def test_what_a_vocabulary_lacks():
    with pytest.raises(UserError, match=r"\[UNK\]"):
        BertTokenizer(["a"])
    with pytest.raises(UserError, match=r"\[MASK\]"):
        _ = BertTokenizer(["[UNK]"]).mask_id
    with pytest.raises(UserError, match="zzz"):
        BertTokenizer(VOCAB).ids(["zzz"])


@pytest.mark.parametrize(
    "text",
    [
        "the quick brown fox (one) jumps, over the lazy dog.",
        "[the] fox: one; two!",
        "",
    ],
)
def test_decode_gives_the_text_back(text):
    tokenizer = BertTokenizer(VOCAB)
    ids = [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id, 0, 0]
    assert tokenizer.decode(ids) == text


def test_decode():
    tokenizer = BertTokenizer([*SPECIALS, "don", "'", "t", "play", "##ing", ".", "##s"])
    assert tokenizer.decode(range(5, 12)) == "don't playing.s"
    assert tokenizer.decode([8, 9, 10, 4]) == "playing. [MASK]"
    assert tokenizer.decode([2, 8, 3], skip_special_tokens=False) == "[CLS] play [SEP]"
    assert tokenizer.decode([11, 8, -1, 99]) == "##s play [UNK] [UNK]"
