"""Pretraining text in files: lines, and dividing files into shares."""

import pytest

from tfdl.engine.errors import UserError
from tfdl.models.bert import text_files

DOCUMENTS = [f"{name} one.\n{name} two.\n\n" for name in "abcdefgh"]


def texts(share):
    """Returns the text of a share."""
    return "".join(line for part in share for line in text_files.lines(part))


def test_only_newlines_end_lines(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffone\x0b\u2028two\x85\r\nthree".encode())
    found = list(text_files.lines(text_files.whole(tmp_path / "a")))
    assert found == ["one\x0b\u2028two\x85\r\n", "three"]


@pytest.mark.parametrize("count", range(1, 9))
def test_shares_keep_every_document_whole(tmp_path, count):
    (tmp_path / "a").write_text("".join(DOCUMENTS[:5]))
    (tmp_path / "b").write_text("".join(DOCUMENTS[5:]))
    shares = text_files.split([tmp_path / "a", tmp_path / "b"], count)
    assert len(shares) == count
    documents = [
        part + "\n\n" for share in shares for part in texts(share).split("\n\n")[:-1]
    ]
    assert sorted(documents) == DOCUMENTS
    if count == 4:
        assert [len(texts(share)) // len(DOCUMENTS[0]) for share in shares] == [2] * 4


def test_too_few_documents(tmp_path):
    (tmp_path / "a").write_text("".join(DOCUMENTS))
    with pytest.raises(UserError, match="9 shards need as many documents"):
        text_files.split([tmp_path / "a"], 9)


def test_a_bad_byte_is_named_with_its_line(tmp_path):
    (tmp_path / "a").write_bytes(b"a\n\nb\n\xff\n")
    first, second = text_files.split([tmp_path / "a"], 2)
    assert texts(first) == "a\n\n"
    with pytest.raises(UserError, match="a:4: not valid UTF-8"):
        texts(second)
