"""Reading, checking and training vocabularies."""

import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.text import vocab
from tfdl.text.wordpiece import BertTokenizer


def test_load_strips_lines_and_keeps_order(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\r\n hello \nworld\n\n", encoding="utf-8")
    assert vocab.load_vocab(path) == ["[PAD]", "[UNK]", "hello", "world"]


@pytest.mark.parametrize("content", [b"", b"just\nwords\n", b"[UNK]\n\xff\xfe\n"])
def test_bad_files(tmp_path, content):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="vocab.txt"):
        vocab.load_vocab(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        vocab.load_vocab(tmp_path / "none.txt")


def test_check():
    good = vocab.load_vocab(golden("bert", "tf1", "vocab.txt"))
    assert vocab.check_vocab(good, rows=len(good)) == []
    assert vocab.check_vocab(good, rows=len(good) + 1)
    said = " ".join(vocab.check_vocab(["[UNK]", "ab", "ab", "", "a b"]))
    for word in ("[PAD]", "twice", "blank", "spaces", "characters"):
        assert word in said


def test_training_covers_its_corpus_and_is_deterministic():
    texts = ["the lower the lowest, the newest!", "new newer newest wide wider"] * 20
    learned = vocab.train_wordpiece(texts, 60)
    assert learned == vocab.train_wordpiece(list(texts), 60)
    assert learned[:5] == list(vocab.SPECIALS)
    assert len(learned) == len(set(learned)) <= 60
    assert vocab.check_vocab(learned) == []
    tokenizer = BertTokenizer(learned)
    for text in texts[:2]:
        assert tokenizer.unk_id not in tokenizer.encode(text)
    assert tokenizer.tokenize("the") == ["the"]
    assert len(tokenizer.tokenize("newest")) < 6


def test_casing_of_published_names():
    assert vocab.infer_casing("uncased_L-12_H-768_A-12") is True
    assert vocab.infer_casing("wwm_cased_L-24_H-1024_A-16") is False
    assert vocab.infer_casing("multi_cased_L-12_H-768_A-12") is False
    assert vocab.infer_casing("multilingual_L-12_H-768_A-12") is True
    assert vocab.infer_casing("chinese_L-12_H-768_A-12") is True
    assert vocab.infer_casing("my-model") is None
