"""DAWNBench's logs: written, read, scored."""

import json

import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18 import dawnbench

EXPECTED = json.loads(golden("imagenet18", "dawn_expected.json").read_text())
PRICE = EXPECTED["cost_per_hour"]


@pytest.mark.parametrize("name", ["dawn_hit.tsv", "dawn_event.log"])
def test_first_row_that_reaches_the_target(name):
    rows = dawnbench.read(golden("imagenet18", name))
    row, expected = dawnbench.first(rows), EXPECTED["dawn_hit.tsv"]
    assert (row.epoch, row.top5) == (expected["row_epoch"], expected["top5"])
    assert row.hours == pytest.approx(expected["hours"])
    assert dawnbench.cost(row, PRICE) == pytest.approx(expected["cost"])


def test_no_row_no_score():
    rows = dawnbench.read(golden("imagenet18", "dawn_miss.tsv"))
    assert dawnbench.first(rows) is None
    assert "no score" in dawnbench.verdict(rows, 93, "top5", {"on demand": 1.0})[0]


def test_swapped_columns_are_told():
    with pytest.raises(UserError, match="dawn_swapped.tsv:2: .*swapped"):
        dawnbench.read(golden("imagenet18", "dawn_swapped.tsv"))


@pytest.mark.parametrize("write", [dawnbench.table, dawnbench.event_log])
def test_what_is_written_is_read(write, tmp_path):
    rows = [
        dawnbench.Row(0, 0.01, 1.25, 12.5),
        dawnbench.Row(1, 0.02, 50.123, 93.0),
    ]
    path = tmp_path / "log"
    path.write_text(write(rows))
    assert dawnbench.read(path) == rows


@pytest.mark.parametrize(
    "text, said",
    [
        ("epoch\thours\ttop1\ttop5\n", "has no rows"),
        ("0\t0.1\t1\t2\n1\t0.05\t1\t2\n", "comes after epoch 0"),
        ("0\t0.1\t1\n", ":1: a row is"),
        ("0\t0.1\t1\t200\n", "no percentages"),
        ("0\tnan\t1\t2\n", "below 0"),
    ],
)
def test_logs_that_make_no_sense(text, said, tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        dawnbench.read(path)


def test_entry_and_command(tmp_path, capsys):
    about = {
        "author": "A. Person",
        "author_email": "a@b.org",
        "code_url": "",
        "hardware": "1 x p3.16xlarge (AWS)",
        "cost_per_hour": 24.48,
    }
    rows = dawnbench.read(golden("imagenet18", "dawn_hit.tsv"))
    path = dawnbench.write_entry(tmp_path, rows, about, "resnet50")
    assert path.name.startswith("a.-person_resnet50_1-x-p3.16xlarge-aws_tensorflow-")
    entry = json.loads(path.with_suffix(".json").read_text())
    assert entry["costPerHour"] == 24.48 and entry["logFilename"] == path.name
    code = dawnbench.main(["dawnbench", f"--log={path}", f"--cost_per_hour={PRICE}"])
    record = json.loads(capsys.readouterr().out)
    assert code == 0 and record["reached"]["epoch"] == 13
    assert record["cost"] == pytest.approx(EXPECTED["dawn_hit.tsv"]["cost"])
    assert dawnbench.main(["dawnbench", "--log=nowhere.tsv"]) == 1
