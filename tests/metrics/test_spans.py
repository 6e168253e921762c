"""Span scores as conlleval gives them."""

import pytest

from tfdl.engine.errors import UserError
from tfdl.metrics import spans

# (tags, spans): conlleval's reading of each sequence.
READINGS = [
    ("", []),
    ("O O", []),
    # IOB2
    ("B-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
    ("B-PER B-PER I-PER", [(0, 1, "PER"), (1, 3, "PER")]),
    # IOB1: B only between neighbours of one type
    ("I-PER I-PER O I-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
    ("I-PER B-PER I-PER", [(0, 1, "PER"), (1, 3, "PER")]),
    ("I-PER I-LOC", [(0, 1, "PER"), (1, 2, "LOC")]),
    # BIOES
    ("B-PER I-PER E-PER S-PER", [(0, 3, "PER"), (3, 4, "PER")]),
    ("S-LOC S-LOC B-LOC E-LOC", [(0, 1, "LOC"), (1, 2, "LOC"), (2, 4, "LOC")]),
    ("B-PER E-PER B-PER E-PER", [(0, 2, "PER"), (2, 4, "PER")]),
    # Sequences that no scheme allows
    ("B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")]),
    ("E-PER I-PER", [(0, 1, "PER"), (1, 2, "PER")]),
    ("O E-PER E-PER", [(1, 2, "PER"), (2, 3, "PER")]),
    ("S-PER I-PER", [(0, 1, "PER"), (1, 2, "PER")]),
    ("B-PER O I-PER", [(0, 1, "PER"), (2, 3, "PER")]),
    # A type may have a hyphen
    ("B-geo-loc I-geo-loc I-geo", [(0, 2, "geo-loc"), (2, 3, "geo")]),
]


@pytest.mark.parametrize(("tags", "expected"), READINGS)
def test_find_spans(tags, expected):
    assert spans.find_spans(tags.split()) == expected


@pytest.mark.parametrize("tag", ["", "PER", "X-PER", "B", "B-", "o", "-PER", "BI-PER"])
def test_other_tags_are_refused(tag):
    with pytest.raises(UserError, match="is neither 'O' nor one of B, I, E, S"):
        spans.find_spans(["O", tag])


GOLD = ["B-PER I-PER O B-LOC B-LOC", "O B-MISC I-MISC O", "B-LOC"]
FOUND = ["B-PER I-PER O B-LOC I-LOC", "B-ORG B-MISC I-MISC O", "I-LOC"]


def scores():
    return spans.evaluate([x.split() for x in GOLD], [x.split() for x in FOUND])


def test_scores_per_type():
    found = scores()
    assert found.by_type == {
        "LOC": (3, 2, 1),
        "MISC": (1, 1, 1),
        "ORG": (0, 1, 0),
        "PER": (1, 1, 1),
    }
    assert list(found.by_type) == sorted(found.by_type)
    assert found.total == (5, 5, 3)
    metrics = found.metrics()
    assert metrics["precision"] == metrics["recall"] == pytest.approx(60.0)
    assert metrics["f1"] == pytest.approx(60.0)
    assert metrics["accuracy"] == pytest.approx(70.0)
    assert metrics["LOC_f1"] == pytest.approx(2 * 50 * (100 / 3) / (50 + 100 / 3))
    assert metrics["ORG_f1"] == 0.0


def test_report_is_what_conlleval_prints():
    """Printed by conlleval.pl (version of 2004-01-26) for these ten words."""
    assert scores().report() == (
        "processed 10 tokens with 5 phrases; found: 5 phrases; correct: 3.\n"
        "accuracy:  70.00%; precision:  60.00%; recall:  60.00%; FB1:  60.00\n"
        "              LOC: precision:  50.00%; recall:  33.33%; FB1:  40.00  2\n"
        "             MISC: precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n"
        "              ORG: precision:   0.00%; recall:   0.00%; FB1:   0.00  1\n"
        "              PER: precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n"
    )


def test_spans_end_with_their_sentence():
    joined = spans.evaluate([["B-PER", "I-PER"]], [["B-PER", "I-PER"]])
    apart = spans.evaluate([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]])
    assert (joined.total.gold, apart.total.gold) == (1, 2)


def test_schemes_can_be_mixed():
    gold = [["I-PER", "I-PER", "O", "I-LOC"]]
    found = [["B-PER", "E-PER", "O", "S-LOC"]]
    assert spans.evaluate(gold, found).total == (2, 2, 2)
    assert spans.evaluate(gold, found).accuracy == 25.0


def test_nothing_scores_nothing():
    found = spans.evaluate([], [])
    assert set(found.metrics().values()) == {0.0}
    found = spans.evaluate([["O", "B-PER"]], [["O", "O"]])
    assert (found.total.precision, found.total.recall, found.total.f1) == (0, 0, 0)
    assert found.accuracy == 50.0


def test_lengths_have_to_agree():
    with pytest.raises(ValueError, match="2 gold tags, 1 predicted"):
        spans.evaluate([["O", "O"]], [["O"]])
    with pytest.raises(ValueError):
        spans.evaluate([["O"]], [])
