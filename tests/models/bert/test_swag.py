"""SWAG's files and sequences."""

import json

import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.models.bert import swag
from tfdl.models.bert.swag import SwagExample
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

HEADER = (
    ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,"
    "ending0,ending1,ending2,ending3,label\n"
)
TOKENIZER = BertTokenizer(load_vocab(golden("bert", "tf1", "vocab.txt")))


def write(folder, name, content):
    path = folder / name
    path.write_text(content, "utf-8")
    return path


def test_official_rows(tmp_path):
    path = write(
        tmp_path, "train.csv",
        HEADER + '0,v1,3416,"Someone, A","Someone says ""stop"", then",He,gold,'
        '"goes, slowly.",runs.,sits.,sleeps.,2\n'
        "1,v1,17,B,The river ran.,The mill,gen,a.,b.,c.,d.,0\n",
    )  # fmt: skip
    endings = ("goes, slowly.", "runs.", "sits.", "sleeps.")
    assert swag.read(path) == [
        SwagExample('Someone says "stop", then', "He", endings, 2, f"{path}:2"),
        SwagExample(
            "The river ran.", "The mill", ("a.", "b.", "c.", "d."), 0, f"{path}:3"
        ),
    ]


def test_the_test_set_has_no_labels(tmp_path):
    header = HEADER.replace(",label", "")
    path = write(tmp_path, "test.csv", header + "0,v,1,s,A.,B,gold,a,b,c,d\n")
    [found] = swag.read(path, need_label=False)
    assert found == SwagExample("A.", "B", ("a", "b", "c", "d"), None, f"{path}:2")
    with pytest.raises(UserError, match=r"test\.csv:2: a label .* got no column"):
        swag.read(path)


def test_rows_as_predict_takes_them(tmp_path):
    row = {"context": "A.", "start": "B", "endings": ["a", "b", "c", "d"], "label": 3}
    path = write(tmp_path, "a.jsonl", json.dumps(row))
    assert swag.read(path) == [
        SwagExample("A.", "B", ("a", "b", "c", "d"), 3, f"{path}:1")
    ]


def test_four_sequences_of_context_and_continuation():
    example = SwagExample(
        "The river ran.", "The mill", ("stands.", "is old.", "", "ran"), 1, "f:2"
    )
    rows = swag.convert(example, TOKENIZER, 40)
    a = [TOKENIZER.cls_id, *TOKENIZER.encode("The river ran."), TOKENIZER.sep_id]
    assert len(rows) == 4
    for ending, row in zip(example.endings, rows, strict=True):
        b = [*TOKENIZER.encode(f"The mill {ending}"), TOKENIZER.sep_id]
        assert row["token_ids"] == a + b
        assert row["segment_ids"] == [0] * len(a) + [1] * len(b)
    assert (
        max(len(row["token_ids"]) for row in swag.convert(example, TOKENIZER, 8)) == 8
    )


BAD = [
    ("a.csv", HEADER + "0,v,1,s,A.,B,gold,a,b,c,d,4\n", ":2: a label from .*'4'"),
    ("a.csv", HEADER + "0,v,1,s,A.,B,gold,a,b,c,d,\n", ":2: a label from 0 to 3 .*''"),
    ("a.csv", HEADER + "0,v,1,s,A.,B,gold,a,b,c\n", ":2: 10 columns, the header"),
    ("a.csv", HEADER, " has no rows"),
    ("a.csv", "sent1,sent2,label\nA.,B,1\n", ":2: no column 'ending0' .*'sent1'"),
    ("a.jsonl", '{"context": "A.", "endings": ["a"]}', ":1: a list of 4 endings"),
    ("a.jsonl", '{"endings": ["a", "b", "c", "d"]}', ":1: a text is needed, got None"),
    ("a.jsonl", '{"context": "A", "endings": ["a", "b", "c", 4]}', "is needed, got 4"),
]  # fmt: skip


@pytest.mark.parametrize("name, content, message", BAD)
def test_a_bad_row_is_named_with_its_line(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(UserError, match=message) as caught:
        swag.read(path)
    assert str(caught.value).startswith(str(path))
