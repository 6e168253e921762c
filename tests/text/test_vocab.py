"""Reading, checking and training vocabularies."""

import json

import pytest

from tests.helpers import golden, run_python
from tfdl.engine.errors import UserError
from tfdl.text import vocab
from tfdl.text.wordpiece import BertTokenizer

TEXTS = ["the lower the lowest, the newest!", "new newer newest wide wider"] * 20


def test_load_strips_lines_and_keeps_their_numbers(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\r\n\n hello \nworld", encoding="utf-8")
    expected = ["[PAD]", "[UNK]", "", "hello", "world"]
    assert vocab.load_vocab(path) == expected
    path.write_text("[PAD]\n[UNK]\r\n\n hello \nworld\n", encoding="utf-8")
    assert vocab.load_vocab(path) == expected
    # The original gives an id to a blank line at the end as well.
    path.write_text("[PAD]\n[UNK]\r\n\n hello \nworld\n\n", encoding="utf-8")
    assert vocab.load_vocab(path) == [*expected, ""]


def test_only_line_feeds_end_a_line(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[UNK]\na\u2028b\nc\x0bd\n".encode())
    assert vocab.load_vocab(path) == ["[UNK]", "a\u2028b", "c\x0bd"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"just\nwords\n", r"lacks \[UNK\]"),
        (b"[UNK]\na\n\xff\xfe\n", r"vocab.txt:3: not valid UTF-8"),
    ],
)
def test_bad_files(tmp_path, content, said):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        vocab.load_vocab(path)
    assert "vocab.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_huge_files(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such file"):
        vocab.load_vocab(tmp_path / "none.txt")
    path = tmp_path / "vocab.txt"
    path.write_text("[UNK]\n" * 10)
    monkeypatch.setattr(vocab, "MAX_BYTES", 20)
    with pytest.raises(UserError, match="the limit is 20"):
        vocab.load_vocab(path)


def test_check_of_a_good_vocabulary():
    path = golden("bert", "tf1", "vocab.txt")
    tokens = vocab.load_vocab(path)
    assert vocab.check_vocab(path, rows=len(tokens)) == []
    assert vocab.check_vocab(str(path)) == vocab.check_vocab(tokens) == []
    assert vocab.check_vocab(path, rows=len(tokens) + 1) == [
        "has 782 tokens, the embedding has 783 rows"
    ]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([*vocab.SPECIALS[:4], "a"], "lacks [MASK]"),
        (["a", *vocab.SPECIALS], "[PAD] has id 1"),
        ([*vocab.SPECIALS, "a", "a"], "1 tokens appear twice, e.g. 'a'"),
        ([*vocab.SPECIALS, "a", "", "b"], "1 blank lines, e.g. line 7"),
        ([*vocab.SPECIALS, "a", "b", "a b"], "1 tokens contain spaces"),
        ([*vocab.SPECIALS, "ab", "b"], "1 characters are no token of their own"),
    ],
)
def test_check_names_a_problem(tokens, said):
    (problem,) = vocab.check_vocab(tokens)
    assert problem.startswith(said)


def test_training_covers_its_corpus():
    learned = vocab.train_wordpiece(TEXTS, 60)
    assert learned[:5] == list(vocab.SPECIALS)
    assert len(learned) == len(set(learned)) <= 60
    assert vocab.check_vocab(learned) == []
    tokenizer = BertTokenizer(learned)
    for text in TEXTS[:2]:
        assert tokenizer.unk_id not in tokenizer.encode(text)
    assert tokenizer.tokenize("the newest") == ["the", "newest"]
    # Punctuation and ideographs are words of their own, never the rest of one.
    assert "," in learned and "##," not in learned


def test_training_on_a_real_text():
    from pydoc_data.topics import topics

    texts = [line for topic in topics.values() for line in topic.splitlines()]
    learned = vocab.train_wordpiece(texts, 2000, unused=10)
    assert len(learned) == len(set(learned)) == 2000
    assert learned[:3] == ["[PAD]", "[unused0]", "[unused1]"]
    assert learned[11:15] == list(vocab.SPECIALS[1:])
    assert vocab.check_vocab(learned) == []
    tokenizer = BertTokenizer(learned)
    words = pieces = unknown = 0
    for text in texts:
        tokens = tokenizer.tokenize(text)
        words += len(tokenizer.basic(text))
        pieces += len(tokens)
        unknown += tokens.count("[UNK]")
    assert unknown == 0
    assert pieces / words < 1.15


@pytest.mark.parametrize("size", [30, 45, 60, 1000])
def test_the_size_is_never_passed(size):
    texts = [*TEXTS, "abcdefghijklmnopqrstuvwxyz", "中文 文本 中"]
    assert len(vocab.train_wordpiece(texts, size)) <= size


def test_training_is_deterministic():
    learned = vocab.train_wordpiece(TEXTS, 40)
    assert vocab.train_wordpiece(reversed(TEXTS), 40) == learned
    code = (
        "import json; from tfdl.text.vocab import train_wordpiece;"
        f"print(json.dumps(train_wordpiece({TEXTS!r}, 40)))"
    )
    done = run_python("-c", code, env={"PYTHONHASHSEED": "1"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == learned


def test_training_of_cased_and_chinese_vocabularies():
    cased = vocab.train_wordpiece(["Paris paris"] * 5, 40, do_lower_case=False)
    assert "P" in cased
    assert "P" not in vocab.train_wordpiece(["Paris paris"] * 5, 40)
    chinese = vocab.train_wordpiece(["中文文本"] * 5, 40)
    assert {"中", "文", "本"} < set(chinese)
    assert not any(token.startswith("##") for token in chinese)


def test_training_without_words_or_room():
    with pytest.raises(UserError, match="no words"):
        vocab.train_wordpiece(["", "  "], 100)
    with pytest.raises(UserError, match="no words"):
        vocab.train_wordpiece(["x" * 60], 100)
    with pytest.raises(UserError, match="too small"):
        vocab.train_wordpiece(["word"], 6)


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("uncased_L-12_H-768_A-12", True),
        ("uncased_L-2_H-128_A-2", True),
        ("wwm_uncased_L-24_H-1024_A-16", True),
        ("cased_L-24_H-1024_A-16", False),
        ("wwm_cased_L-24_H-1024_A-16", False),
        ("multi_cased_L-12_H-768_A-12", False),
        ("multilingual_L-12_H-768_A-12", True),
        ("chinese_L-12_H-768_A-12", True),
        ("models/uncased_L-12_H-768_A-12/bert_model.ckpt", True),
        ("uncased_archive/cased_L-12_H-768_A-12", False),
        ("my-model", None),
        ("showcased", None),
        ("", None),
    ],
)
def test_casing_of_published_names(name, lower):
    assert vocab.infer_casing(name) is lower
