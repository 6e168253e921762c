"""Windows over long documents and what is made of their logits."""

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.models.bert import features, long_documents
from tfdl.models.bert.examples import Example
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

TOKENIZER = BertTokenizer(load_vocab(golden("bert", "tf1", "vocab.txt")))
WORDS = ["the", "river", "ran", ".", "steel", "is", "warm", ",", "room", "a", "it"]


def text(tokens):
    """Returns a text of so many tokens, no two windows of which are alike."""
    return " ".join(WORDS[i * i % len(WORDS)] for i in range(tokens))


def shown(window):
    """Returns the ids of a window's two texts."""
    ids, segments = np.array(window["token_ids"]), np.array(window["segment_ids"])
    assert ids[0] == TOKENIZER.cls_id and ids[-1] == TOKENIZER.sep_id
    first, second = ids[segments == 0], ids[segments == 1]
    return list(first[1:-1]), list(second[:-1])


def test_the_words_are_one_token_each():
    assert len(TOKENIZER.encode(text(100))) == 100


@pytest.mark.parametrize("a, b", [(14, None), (6, 7), (0, 5), (0, None)])
def test_what_fits_is_one_window(a, b):
    pair = None if b is None else text(b)
    found = long_documents.windows(text(a), pair, TOKENIZER, 16, 5)
    assert found == [features.convert(text(a), pair, TOKENIZER, 16)]


@pytest.mark.parametrize("stride", [1, 3, 7, 14])
@pytest.mark.parametrize("tokens", [15, 27, 28, 29, 100])
def test_windows_cover_a_text(tokens, stride):
    ids = TOKENIZER.encode(text(tokens))
    found = long_documents.windows(text(tokens), None, TOKENIZER, 16, stride)
    for i, window in enumerate(found):
        assert shown(window) == (ids[i * stride : i * stride + 14], [])
    last = (len(found) - 1) * stride
    # The last window reaches the end, the one before does not.
    assert last < tokens <= last + 14 and last - stride + 14 < tokens


@pytest.mark.parametrize("a_is_long", [True, False])
def test_the_longer_of_a_pair_slides(a_is_long):
    long, kept = text(30), text(4)
    pair = (long, kept) if a_is_long else (kept, long)
    found = long_documents.windows(*pair, TOKENIZER, 16, 5)
    ids = TOKENIZER.encode(long)
    # 13 tokens have room, 4 of them are the shorter text's.
    assert len(found) == 6
    for i, window in enumerate(found):
        expected = [ids[5 * i : 5 * i + 9], TOKENIZER.encode(kept)]
        assert list(shown(window)) == (expected if a_is_long else expected[::-1])


def test_of_two_long_texts_the_shorter_gets_half_of_the_room():
    found = long_documents.windows(text(20), text(31), TOKENIZER, 16, 7)
    ids = TOKENIZER.encode(text(31))
    for i, window in enumerate(found):
        kept, part = shown(window)
        assert kept == TOKENIZER.encode(text(20))[:6]
        assert part == ids[7 * i : 7 * i + 7]
    assert len(found) == 5


def test_examples_own_their_windows():
    examples = [Example(text(n), None, "x", "f:1", "1") for n in (3, 40, 15)]
    rows, owners = long_documents.convert(examples, TOKENIZER, 16, 10)
    np.testing.assert_array_equal(owners, [0, 1, 1, 1, 1, 2, 2])
    assert rows[5:] == long_documents.windows(text(15), None, TOKENIZER, 16, 10)


def test_aggregation():
    logits = np.array([[1, 5], [2, 0], [4, -2], [0, 8]], np.float32)
    owners = np.array([0, 1, 1, 2])
    np.testing.assert_array_equal(
        long_documents.aggregate(logits, owners), [[1, 5], [3, -1], [0, 8]]
    )
    np.testing.assert_array_equal(
        long_documents.aggregate(logits, owners, "max"), [[1, 5], [4, 0], [0, 8]]
    )
    with pytest.raises(UserError, match="unknown aggregation 'median'.*max, mean"):
        long_documents.aggregate(logits, owners, "median")


def test_no_token_is_passed_over():
    found = long_documents.windows(text(40), None, TOKENIZER, 16, 99)
    assert sum((shown(window)[0] for window in found), []) == TOKENIZER.encode(text(40))


def test_windows_need_room_and_a_stride():
    with pytest.raises(UserError, match="stride 0: a number above 0 is needed"):
        long_documents.windows(text(40), None, TOKENIZER, 16, 0)
    with pytest.raises(UserError, match="max_seq_length 3 has no room"):
        long_documents.windows(text(40), None, TOKENIZER, 3, 1)
