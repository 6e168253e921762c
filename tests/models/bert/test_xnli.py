"""XNLI's files and the table over its languages."""

import pytest

from tfdl.engine.errors import UserError
from tfdl.models.bert import xnli

DEV_HEADER = (
    "language gold_label sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2 promptID pairID genre label1"
).split()


def write(folder, name, *rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    return path


def dev_row(language, label, premise, hypothesis):
    parses = ["", "", "", ""]
    return [
        language,
        label,
        *parses,
        premise,
        hypothesis,
        "1",
        "1",
        "facetoface",
        label,
    ]


def texts(found):
    return [(x.text_a, x.text_b, x.label) for x in found]


@pytest.mark.parametrize("folder", ["", "XNLI-MT-1.0"])
def test_training_set(tmp_path, folder):
    write(
        tmp_path / folder, "multinli/multinli.train.zh.tsv",
        ["premise", "hypo", "label"],
        ["概念 上", '产品 "和', "neutral"],
        ["a", "b", "contradictory"],
        ["c", "d", "entailment"],
    )  # fmt: skip
    assert texts(xnli.read_train(tmp_path, "zh")) == [
        ("概念 上", '产品 "和', "neutral"), ("a", "b", "contradiction"),
        ("c", "d", "entailment"),
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["", "XNLI-1.0"])
@pytest.mark.parametrize("name", ["xnli.dev.tsv", "xnli.test.tsv"])
def test_development_and_test_sets(tmp_path, folder, name):
    path = write(
        tmp_path / folder, name, DEV_HEADER,
        dev_row("ar", "neutral", "p1", "h1"),
        dev_row("en", "entailment", "p2", "h2"),
        dev_row("ar", "contradiction", "p3", "h3"),
    )  # fmt: skip
    found = xnli.read_dev(tmp_path, "ar", name)
    assert texts(found) == [("p1", "h1", "neutral"), ("p3", "h3", "contradiction")]
    assert [x.where for x in found] == [f"{path}:2", f"{path}:4"]
    assert list(xnli.read_languages(tmp_path, name)) == ["en", "ar"]
    with pytest.raises(UserError, match="no row of language 'de'"):
        xnli.read_dev(tmp_path, "de", name)


def test_all_languages_and_their_table(tmp_path):
    write(
        tmp_path, "xnli.dev.tsv", DEV_HEADER,
        dev_row("sw", "neutral", "p", "h"), dev_row("sw", "entailment", "p", "h"),
        dev_row("en", "entailment", "p", "h"),
    )  # fmt: skip

    found = xnli.read_all(tmp_path)
    assert [row.guid for row in found] == ["en-4", "sw-2", "sw-3"]
    # One line of names, one of percentages, aligned at the right.
    accuracies = {"en": 1.0, "sw": 0.5, "average": 0.75}
    assert xnli.table(accuracies) == "   en    sw  average\n100.0  50.0     75.0\n"


def test_the_table_has_all_languages_of_the_paper():
    accuracies = {language: 0.5 for language in sorted(xnli.LANGUAGES)}
    head, row, _ = xnli.table({**accuracies, "average": 0.5}).split("\n")
    assert head.split() == [
        *"en fr es de el bg ru tr ar vi th zh hi sw ur".split(), "average",
    ]  # fmt: skip
    assert row.split() == ["50.0"] * 16


BAD = [
    (dev_row("en", "contradictory", "p", "h"), ":2: unknown label 'contradictory'"),
    (dev_row("en", "-", "p", "h"), ":2: unknown label '-'.*entailment, neutral"),
    (dev_row("xx", "neutral", "p", "h"), ":2: no language 'xx'"),
    (["en", "neutral", "p", "h"], ":2: 4 columns, 8 are needed"),
]


@pytest.mark.parametrize("row, message", BAD)
def test_a_bad_row_is_named_with_its_line(tmp_path, row, message):
    path = write(tmp_path, "xnli.dev.tsv", DEV_HEADER, row)
    with pytest.raises(UserError, match=message) as caught:
        xnli.read_dev(tmp_path, "en")
    assert str(caught.value).startswith(str(path))


def test_missing_files_and_languages(tmp_path):
    with pytest.raises(UserError, match=r"multinli\.train\.en\.tsv: no such file"):
        xnli.read_train(tmp_path, "en")
    with pytest.raises(
        UserError, match=r"xnli\.dev\.tsv: no such file, nor XNLI-1\.0/"
    ):
        xnli.read_dev(tmp_path, "en")
    with pytest.raises(UserError, match="unknown language of XNLI 'jp'"):
        xnli.read_train(tmp_path, "jp")
    write(tmp_path, "multinli/multinli.train.en.tsv", ["premise", "hypo", "label"])
    with pytest.raises(UserError, match="has no rows"):
        xnli.read_train(tmp_path, "en")
