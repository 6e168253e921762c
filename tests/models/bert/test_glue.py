"""GLUE: the official files, the submission files and the average."""

import logging as std_logging

import numpy as np
import pytest

from tfdl.engine.errors import UserError
from tfdl.models.bert import glue


def write(folder, name, *rows):
    """Writes rows of cells as the official archive has them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    return path


def texts(found):
    return [(x.text_a, x.text_b, x.label) for x in found]


MNLI_HEADER = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2"
).split()
MNLI_ROW = ["0", "31193", "31193n", "government", "( a )", "( b )", "(R a)", "(R b)"]
STS_HEADER = (
    "index genre filename year old_index source1 source2 sentence1 sentence2 score"
).split()
STS_ROW = "0 main-captions MSRvid 2012test 0001 none none".split()
MRPC_HEADER = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
NLI_HEADER = ["index", "sentence1", "sentence2", "label"]
QQP_HEADER = "id qid1 qid2 question1 question2 is_duplicate".split()

# task, split, file, rows, what is read
OFFICIAL = [
    ("cola", "train", "train.tsv", [
        ["gj04", "1", "", "Our friends won't buy this."], ["bc01", "0", "*", '"Who?']
    ], [("Our friends won't buy this.", None, "1"), ('"Who?', None, "0")]),
    ("CoLA", "test", "test.tsv", [
        ["index", "sentence"], ["0", "Bill whistled."]
    ], [("Bill whistled.", None, None)]),
    ("sst-2", "dev", "dev.tsv", [
        ["sentence", "label"], ["it 's a charming journey . ", "1"], ["a mess", "0"]
    ], [("it 's a charming journey . ", None, "1"), ("a mess", None, "0")]),
    ("SST2", "test", "test.tsv", [
        ["index", "sentence"], ["0", "uneasy mishmash"]
    ], [("uneasy mishmash", None, None)]),
    ("mrpc", "train", "train.tsv", [
        ["\ufeffQuality", *MRPC_HEADER[1:]], ["1", "70", "71", 'He said " x', "He said"]
    ], [('He said " x', "He said", "1")]),
    ("mrpc", "test", "test.tsv", [
        ["index", *MRPC_HEADER[1:]], ["0", "10", "11", "PCCW's", "Current"]
    ], [("PCCW's", "Current", None)]),
    ("sts-b", "train", "train.tsv", [
        STS_HEADER, [*STS_ROW, "A plane.", "An air plane.", "5.000"],
        [*STS_ROW, "A man.", "A flute.", "0.5"],
    ], [("A plane.", "An air plane.", 5.0), ("A man.", "A flute.", 0.5)]),
    ("STS-B", "test", "test.tsv", [
        STS_HEADER[:-1], [*STS_ROW, "A girl.", "A boy."]
    ], [("A girl.", "A boy.", None)]),
    ("qqp", "test", "test.tsv", [
        ["id", "question1", "question2"], ["0", "Why?", "How?"]
    ], [("Why?", "How?", None)]),
    ("mnli", "train", "train.tsv", [
        [*MNLI_HEADER, "label1", "gold_label"],
        [*MNLI_ROW, "Fun.", "No.", "neutral", "contradiction"],
    ], [("Fun.", "No.", "contradiction")]),
    ("mnli", "dev", "dev_matched.tsv", [
        [*MNLI_HEADER, *(f"label{i}" for i in range(1, 6)), "gold_label"],
        [*MNLI_ROW, "Fun.", "No.", *["neutral"] * 4, "entailment", "neutral"],
    ], [("Fun.", "No.", "neutral")]),
    ("mnli", "dev_mismatched", "dev_mismatched.tsv", [
        [*MNLI_HEADER, *(f"label{i}" for i in range(1, 6)), "gold_label"],
        [*MNLI_ROW, "Fun.", "No.", *["neutral"] * 5, "entailment"],
    ], [("Fun.", "No.", "entailment")]),
    ("mnli", "test", "test_matched.tsv", [
        MNLI_HEADER, [*MNLI_ROW, "Fun.", "No."]
    ], [("Fun.", "No.", None)]),
    ("mnli", "test_mismatched", "test_mismatched.tsv", [
        MNLI_HEADER, [*MNLI_ROW, "Fun.", "Yes."]
    ], [("Fun.", "Yes.", None)]),
    ("qnli", "train", "train.tsv", [
        ["index", "question", "sentence", "label"], ["0", "Q?", "S.", "not_entailment"]
    ], [("Q?", "S.", "not_entailment")]),
    ("rte", "dev", "dev.tsv", [
        NLI_HEADER, ["0", "A.", "B.", "entailment"]
    ], [("A.", "B.", "entailment")]),
    ("rte", "test", "test.tsv", [
        NLI_HEADER[:3], ["0", "A.", "B."]
    ], [("A.", "B.", None)]),
    ("wnli", "train", "train.tsv", [
        NLI_HEADER, ["0", "A.", "B.", "0"]
    ], [("A.", "B.", "0")]),
    ("ax", "test", "diagnostic.tsv", [
        NLI_HEADER[:3], ["0", "The cat sat.", "The cat did not."]
    ], [("The cat sat.", "The cat did not.", None)]),
    ("ax", "dev", "diagnostic-full.tsv", [
        ["Lexical Semantics", "Predicate-Argument Structure", "Logic", "Knowledge",
         "Domain", "Premise", "Hypothesis", "Label"],
        ["", "", "Negation", "", "Artificial", "The cat sat.", "It did not.",
         "contradiction"],
    ], [("The cat sat.", "It did not.", "contradiction")]),
]  # fmt: skip


@pytest.mark.parametrize("name, split, file, rows, expected", OFFICIAL)
def test_official_files(tmp_path, name, split, file, rows, expected):
    path = write(tmp_path, file, *rows)
    found = glue.read(tmp_path, name, split)
    assert texts(found) == expected
    first = len(rows) - len(expected) + 1
    assert [x.where for x in found] == [
        f"{path}:{first + i}" for i in range(len(found))
    ]
    if split.startswith("test"):
        assert [x.guid for x in found] == ["0"]


def test_the_archive_s_folder_is_enough(tmp_path):
    for spec in glue.TASKS.values():
        name, split, file, rows, expected = next(
            case for case in OFFICIAL if glue.task(case[0]).name == spec.name
        )
        write(tmp_path / spec.folder, file, *rows)
        assert texts(glue.read(tmp_path, name, split)) == expected


def test_line_ends_of_windows(tmp_path):
    (tmp_path / "dev.tsv").write_bytes(b"sentence\tlabel\r\na\t1\r\n\r\nb\t0\r\n")
    assert texts(glue.read(tmp_path, "sst-2", "dev")) == [
        ("a", None, "1"), ("b", None, "0"),
    ]  # fmt: skip


def test_short_lines_of_qqp_are_counted_but_not_in_the_test_set(tmp_path, caplog):
    rows = [
        QQP_HEADER,
        ["1", "2", "3", "Why?", "How?", "1"],
        ["4", "5", "6", "Broken"],
        ["line", "0"],
        ["7", "8", "9", "A?", "B?", "0"],
    ]
    path = write(tmp_path, "train.tsv", *rows)
    with caplog.at_level(std_logging.WARNING):
        found = glue.read(tmp_path, "qqp", "train")
    assert texts(found) == [("Why?", "How?", "1"), ("A?", "B?", "0")]
    assert f"{path}: 2 rows with missing columns skipped" in caplog.text
    write(tmp_path, "test.tsv", ["id", "question1", "question2"], ["0", "Broken"])
    with pytest.raises(UserError, match=r"test\.tsv:2: 2 columns, qqp needs 3"):
        glue.read(tmp_path, "qqp", "test")


def test_wide_rows_are_counted(tmp_path, caplog):
    write(tmp_path, "dev.tsv", NLI_HEADER, ["0", "A.", "B.", "C.", "entailment"])
    with caplog.at_level(std_logging.WARNING):
        assert texts(glue.read(tmp_path, "rte", "dev")) == [("A.", "B.", "entailment")]
    assert "1 rows have more than 4 columns" in caplog.text


def test_mrpc_as_its_authors_publish_it(tmp_path):
    header = ["\ufeffQuality", *MRPC_HEADER[1:]]
    rows = [[str(i % 2), f"a{i}", f"b{i}", f"x{i}", f"y{i}"] for i in range(4)]
    write(tmp_path, "msr_paraphrase_train.txt", header, *rows)
    write(tmp_path, "msr_paraphrase_test.txt", header, *rows[:1])
    with pytest.raises(UserError, match=r"dev_ids\.tsv: no such file"):
        glue.read(tmp_path, "mrpc", "train")
    write(tmp_path, "dev_ids.tsv", ["a1", "b1"], ["a3", "b3"])
    train, dev, test = (
        glue.read(tmp_path, "mrpc", s) for s in ("train", "dev", "test")
    )
    assert texts(train) == [("x0", "y0", "0"), ("x2", "y2", "0")]
    assert texts(dev) == [("x1", "y1", "1"), ("x3", "y3", "1")]
    assert texts(test) == [("x0", "y0", None)]


BAD = [
    ("sst-2", "dev", "dev.tsv", [["sentence", "label"], ["a", "2"]],
     r":2: unknown label '2'.*\(allowed: 0, 1\)"),
    ("cola", "train", "train.tsv", [["source", "label", "star", "sentence"]],
     r":1: unknown label 'label'.*\(allowed: 0, 1\)"),
    ("mnli", "dev", "dev_matched.tsv",
     [[*MNLI_HEADER, "label1", "gold_label"], [*MNLI_ROW, "a", "b", "neutral", "-"]],
     r":2: unknown label '-'.*contradiction, entailment, neutral"),
    ("rte", "dev", "dev.tsv", [NLI_HEADER, ["0", "A.", "B."]],
     ":2: 3 columns, rte needs 4"),
    ("mrpc", "dev", "dev.tsv", [["Quality", "text"]],
     ":1: a header of 2 columns, mrpc needs 5"),
    ("sst-2", "train", "train.tsv", [["a fine film", "1"], ["a mess", "0"]],
     ":1: a header line is needed, this is an example"),
    ("sts-b", "train", "train.tsv", [[*STS_ROW, "a", "b", "2.5"]],
     ":1: a header line is needed"),
    ("cola", "test", "test.tsv", [["0", "Bill whistled."]],
     ":1: a header line is needed"),
    ("sts-b", "dev", "dev.tsv", [STS_HEADER, [*STS_ROW, "a", "b", "high"]],
     ":2: the label has to be a number, got 'high'"),
    ("sts-b", "dev", "dev.tsv", [STS_HEADER, [*STS_ROW, "a", "b", "6"]],
     ":2: a score from 0 to 5 is needed, got 6.0"),
    ("wnli", "dev", "dev.tsv", [NLI_HEADER], " has no rows"),
    ("wnli", "dev", "dev.tsv", [], " is empty"),
]  # fmt: skip


@pytest.mark.parametrize("name, split, file, rows, message", BAD)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, split, file, rows, message):
    path = write(tmp_path, file, *rows)
    with pytest.raises(UserError, match=message) as caught:
        glue.read(tmp_path, name, split)
    assert str(caught.value).startswith(str(path))


def test_invalid_utf8_is_named_with_its_line(tmp_path):
    (tmp_path / "dev.tsv").write_bytes(b"sentence\tlabel\nok\t1\nb\xe9\t0\n")
    with pytest.raises(UserError, match=r"dev\.tsv:3: not valid UTF-8"):
        glue.read(tmp_path, "sst-2", "dev")


def test_missing_files_and_names(tmp_path):
    write(tmp_path, "train.tsv", ["x"])
    with pytest.raises(UserError) as caught:
        glue.read(tmp_path, "mnli", "dev")
    assert str(caught.value) == (
        f"{tmp_path}/dev_matched.tsv: no such file (mnli has train.tsv, "
        "dev_matched.tsv, dev_mismatched.tsv, test_matched.tsv, test_mismatched.tsv; "
        "the folder has train.tsv)"
    )
    with pytest.raises(UserError, match="no .tsv"):
        glue.read(tmp_path / "nowhere", "rte", "dev")
    with pytest.raises(UserError, match="unknown split of rte 'dev_mismatched'"):
        glue.read(tmp_path, "rte", "dev_mismatched")
    with pytest.raises(UserError, match="unknown GLUE task 'qqqp'; did you mean 'qqp'"):
        glue.read(tmp_path, "qqqp", "dev")


def test_metrics_of_each_task():
    labels, guesses = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert glue.score("SST-2", labels, guesses) == {"accuracy": 0.75}
    assert glue.score("cola", labels, guesses) == {
        "matthews_correlation": pytest.approx(1 / np.sqrt(3))
    }
    assert glue.score("mrpc", labels, guesses) == {
        "f1": pytest.approx(2 / 3), "accuracy": 0.75,
    }  # fmt: skip
    scores = glue.score("sts-b", np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert scores == {
        "pearson": pytest.approx(5 / np.sqrt(28)), "spearman": pytest.approx(1.0),
    }  # fmt: skip


def test_the_average_counts_a_task_once():
    scores = {
        "cola": {"matthews_correlation": 0.5, "loss": 99.0},
        "mrpc": {"f1": 0.9, "accuracy": 0.7},
        "mnli": {"accuracy": 0.8},
        "mnli_mismatched": {"accuracy": 0.6},
        "ax": {"matthews_correlation": 0.0},
    }
    assert glue.glue_average(scores) == pytest.approx((0.5 + 0.8 + 0.7) / 3)


def test_an_average_needs_metrics():
    with pytest.raises(UserError, match="no scores of a GLUE task"):
        glue.glue_average({"ax": {"matthews_correlation": 0.3}})
    with pytest.raises(UserError, match="the scores of mrpc lack f1"):
        glue.glue_average({"mrpc": {"accuracy": 0.3}})


SUBMISSIONS = [
    ("cola", "test", [1, 0], "CoLA.tsv", ["1", "0"]),
    ("mnli", "test", [0, 2], "MNLI-m.tsv", ["contradiction", "neutral"]),
    ("mnli", "test_mismatched", [1], "MNLI-mm.tsv", ["entailment"]),
    ("qnli", "test", [1], "QNLI.tsv", ["not_entailment"]),
    ("sts-b", "test", [-0.2, 2.34567, 5.4], "STS-B.tsv", ["0.000", "2.346", "5.000"]),
    ("ax", "test", [1], "AX.tsv", ["entailment"]),
]


@pytest.mark.parametrize("name, split, predictions, file, shown", SUBMISSIONS)
def test_submission_files(tmp_path, name, split, predictions, file, shown):
    path = glue.write_submission(tmp_path, name, np.array(predictions), split)
    assert path == tmp_path / file
    lines = ["index\tprediction", *(f"{i}\t{text}" for i, text in enumerate(shown))]
    assert path.read_text() == "\n".join(lines) + "\n"
    assert [p.name for p in tmp_path.iterdir()] == [file]


def test_a_submission_holds_only_answers():
    with pytest.raises(ValueError, match="prediction 1 is nan"):
        glue.submission_rows("sts-b", [1.0, float("nan")])
    with pytest.raises(ValueError, match="prediction 0: rte has no 2"):
        glue.submission_rows("rte", [2])


def test_every_submission_file_has_its_own_name():
    names = {glue.submission_name(name) for name in glue.TASKS}
    names.add(glue.submission_name("mnli", "test_mismatched"))
    assert names == {
        "CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv",
        "MNLI-mm.tsv", "QNLI.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv",
    }  # fmt: skip


def test_probabilities_as_the_original_writes_them(tmp_path):
    path = tmp_path / "test_results.tsv"
    glue.write_probabilities(path, np.array([[0.9, 0.1], [0.25, 0.75]]))
    assert path.read_text() == "0.9\t0.1\n0.25\t0.75\n"
