"""Reading examples from tables of one's own, good ones and bad ones."""

import json

import pytest

from tfdl.engine.errors import UserError
from tfdl.models.bert import examples, features
from tfdl.models.bert.examples import Example, label_ids, label_set, read_table
from tfdl.text.wordpiece import BertTokenizer


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(found):
    return [(x.text_a, x.text_b, x.label) for x in found]


def test_tsv_takes_quotes_as_they_are(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"Stop", he said\tno\na "b\tyes\n')
    assert read_table(path) == [
        Example('"Stop", he said', None, "no", f"{path}:2", "2"),
        Example('a "b', None, "yes", f"{path}:3", "3"),
    ]


def test_csv_has_quotes_and_line_breaks_in_cells(tmp_path):
    content = 'id,Label,Text\r\n7,x,"one, ""two""\nthree"\r\n\r\n8,y,four\r\n'
    path = write(tmp_path, "a.csv", content)
    assert read_table(path) == [
        Example('one, "two"\nthree', None, "x", f"{path}:2", "7"),
        Example("four", None, "y", f"{path}:5", "8"),
    ]


def test_jsonl_pairs_and_single_texts(tmp_path):
    rows = [
        {"sentence1": "a", "sentence2": "b", "label": 1},
        {"sentence1": "c", "sentence2": None, "label": "0"},
        {"sentence1": "d", "label": True},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert texts(read_table(path)) == [
        ("a", "b", "1"), ("c", None, "0"), ("d", None, "True"),
    ]  # fmt: skip


def test_columns_by_name(tmp_path):
    path = write(tmp_path, "a.tsv", "t\tu\tv\ttext\nA\tB\tC\tD\n")
    assert texts(read_table(path, "u", "t", "v")) == [("B", "A", "C")]
    path = write(tmp_path, "b.tsv", "text_b\ttext\tlabel\nB\tA\tC\n")
    assert texts(read_table(path)) == [("A", "B", "C")]
    assert texts(read_table(path, text_b="")) == [("A", None, "C")]


def test_without_labels(tmp_path):
    plain = write(tmp_path, "a.txt", "\ufeffone\r\n\n two\n")
    assert texts(read_table(plain, need_label=False)) == [
        ("one", None, None), (" two", None, None),
    ]  # fmt: skip
    mixed = write(tmp_path, "a.jsonl", '{"text": "a", "label": ["x"]}\n{"text": "b"}')
    assert texts(read_table(mixed, need_label=False)) == [
        ("a", None, None), ("b", None, None),
    ]  # fmt: skip


def test_regression_labels(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tscore\na\t1.5\nb\t-2e1\n")
    found = read_table(path, kind="regression")
    assert label_ids(found, [], "regression") == [1.5, -20.0]


def test_several_labels(tmp_path):
    rows = write(tmp_path, "a.tsv", "text\tlabels\na\tx|z\nb\t\nc\t z | x |z\n")
    found = read_table(rows, kind="multilabel")
    assert [x.label for x in found] == [("x", "z"), (), ("z", "x")]
    assert label_set(found, "multilabel") == ["x", "z"]
    ids = label_ids(found, ["x", "y", "z"], "multilabel")
    assert ids == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    lines = '{"text": "a", "labels": ["x|y", 2]}\n{"text": "b", "labels": []}'
    listed = write(tmp_path, "a.jsonl", lines)
    found = read_table(listed, kind="multilabel")
    assert [x.label for x in found] == [("x|y", "2"), ()]


def test_labels_are_sorted_numbers_by_size():
    def labelled(*names):
        return [Example("", None, name, "f:1", "1") for name in names]

    assert label_set(labelled("10", "9", "2"), "classification") == ["2", "9", "10"]
    assert label_set(labelled("b", "10", "9"), "classification") == ["10", "9", "b"]
    found = labelled("b", "a", "b")
    assert label_ids(found, label_set(found, "classification"), "") == [1, 0, 1]


TABLES = [
    ("a.tsv", "text\tlabel\na\tx\nb\n", ":3: 1 columns, the header has 2"),
    ("a.tsv", "text\tlabel\na\tb\tx\n", ":2: 3 columns, the header has 2"),
    ("a.tsv", "text\ttext\na\tx\n", ":1: the column 'text' is there twice"),
    ("a.tsv", "text\tlabel\n", " has no rows"),
    ("a.tsv", "", " is empty"),
    ("a.tsv", "body\tlabel\na\tx\n", ":1: none of .* text, .*body, label.*text_a"),
    ("a.tsv", "text\tkind\na\tx\n", ":1: none of .* name yours with label"),
    ("a.tsv", "text\tlabel\na\t \n", ":2: a label is needed, got ' '"),
    ("a.tsv", b"text\tlabel\nok\tx\nbad \xff\tx\n", ":3: not valid UTF-8"),
    ("a.csv", 'text,label\na,x\n"b,x\nc,x\n', ":3: not a CSV row: unexpected end"),
    ("a.csv", 'text,label\n"b"c,x\n', ":2: not a CSV row"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": ', ":2: not a JSON object"),
    ("a.jsonl", "[1, 2]\n", r":1: a JSON object per line is needed, got \[1, 2\]"),
    ("a.jsonl", "[" * 100_000, ":1: not plausible JSON"),
    ("a.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", ":1: not plausible JSON"),
    ("a.jsonl", '{"text": 5, "label": 1}\n', ":1: a text is needed, got 5"),
    ("a.jsonl", '{"text": "a", "text_b": [1], "label": 1}\n', r"needed, got \[1\]"),
    ("a.jsonl", '{"text": "a", "label": {"b": 1}}\n', ":1: a label is needed, got {"),
    ("a.jsonl", '{"text": "a", "label": null}\n', ":1: a label is needed, got None"),
    ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', ":2: none of .* label"),
    ("a.xlsx", "x", "a .tsv, .csv, .jsonl or .txt file is needed, got '.xlsx'"),
]  # fmt: skip


@pytest.mark.parametrize("name, content, message", TABLES)
def test_a_bad_table_is_named_with_its_line(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["high", "nan", "inf", "", "1e999"])
def test_regression_wants_numbers(tmp_path, value):
    path = write(tmp_path, "a.tsv", f"text\tscore\na\t1\nb\t{value}\n")
    with pytest.raises(UserError, match=r"a\.tsv:3: the label has to be a number"):
        read_table(path, kind="regression")


def test_a_missing_file_and_a_missing_column(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "a.tsv")
    path = write(tmp_path, "a.tsv", "text\tlabel\na\tx\n")
    with pytest.raises(
        UserError, match=r"a\.tsv:1: no column 'body' \(there is text, "
    ):
        read_table(path, text_a="body")


def test_labels_outside_of_the_set_are_named(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tlabel\na\tgood\nb\tgod\n")
    with pytest.raises(UserError, match=r"a\.tsv:3: unknown label 'god'; .*'good'"):
        label_ids(read_table(path), ["bad", "good"], "classification")


def test_one_label_is_nothing_to_learn(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tlabel\na\tgood\nb\tgood\n")
    with pytest.raises(UserError, match="only the label 'good', at least 2"):
        label_set(read_table(path), "classification")
    path = write(tmp_path, "b.tsv", "text\tlabel\na\t\n")
    with pytest.raises(UserError, match="no label, at least 1"):
        label_set(read_table(path, kind="multilabel"), "multilabel")


def test_a_long_label_makes_a_short_message(tmp_path):
    path = write(tmp_path, "a.tsv", "text\tlabel\na\t" + "x" * 1_000_000 + "\n")
    with pytest.raises(UserError) as caught:
        label_ids(read_table(path), ["bad", "good"], "classification")
    assert len(str(caught.value)) < 500


def test_a_line_of_ten_megabytes(tmp_path):
    text = "the river ran " * 750_000
    path = write(tmp_path, "a.tsv", f"text\tlabel\n{text}\tx\n")
    [found] = read_table(path)
    tokenizer = BertTokenizer(["[UNK]", "[CLS]", "[SEP]", "the", "river", "ran"])
    row = features.convert(found.text_a, found.text_b, tokenizer, 8)
    assert row["token_ids"] == [1, 3, 4, 5, 3, 4, 5, 2]


def test_an_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "MAX_LINE_BYTES", 1000)
    path = write(tmp_path, "a.tsv", "text\tlabel\na\tx\n" + "b" * 1001 + "\tx\n")
    with pytest.raises(UserError, match=r"a\.tsv:3: a line of over 1,000 bytes"):
        read_table(path)
