"""Scores of labelled spans, as conlleval counts them (Tjong Kim Sang 2000-2004).

Tags are "O" or a prefix and a type, "B-PER". The schemes IOB1, IOB2 and BIOES (also
called IOBES) are read by the same rules, so that none has to be named.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tfdl.engine import errors

OUTSIDE = "O"
PREFIXES = ("B", "I", "E", "S")


class Span(NamedTuple):
    """Words `start` to `end` (exclusive), of a type."""

    start: int
    end: int
    type: str


class Score(NamedTuple):
    """Numbers of spans; `precision`, `recall` and `f1` are percentages."""

    gold: int
    found: int
    correct: int

    @property
    def precision(self) -> float:
        """Percentage of the found spans that are correct; 0 if none is found."""
        return 100.0 * self.correct / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Percentage of the gold spans that are found; 0 if there are none."""
        return 100.0 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


class Scores(NamedTuple):
    """Scores of all spans and per type, and how many words have the right tag."""

    total: Score
    by_type: dict[str, Score]
    words: int
    right_words: int

    @property
    def accuracy(self) -> float:
        """Percentage of words with the right tag."""
        return 100.0 * self.right_words / self.words if self.words else 0.0

    def metrics(self) -> dict[str, float]:
        """Returns `precision`, `recall`, `f1`, `accuracy` and `<type>_f1`."""
        return {
            "precision": self.total.precision,
            "recall": self.total.recall,
            "f1": self.total.f1,
            "accuracy": self.accuracy,
            **{f"{name}_f1": score.f1 for name, score in self.by_type.items()},
        }

    def report(self) -> str:
        """Returns what conlleval prints."""
        total = self.total
        lines = [
            f"processed {self.words} tokens with {total.gold} phrases; "
            f"found: {total.found} phrases; correct: {total.correct}.",
            f"accuracy: {self.accuracy:6.2f}%; {_percentages(total)}",
        ]
        lines += [
            f"{name:>17}: {_percentages(score)}  {score.found}"
            for name, score in self.by_type.items()
        ]
        return "\n".join(lines) + "\n"


def split_tag(tag: str) -> tuple[str, str]:
    """Returns prefix and type: ("B", "PER"); ("O", "") outside of spans.

    Raises:
        UserError: the tag is of none of the schemes.
    """
    prefix, _, kind = tag.partition("-")
    if tag != OUTSIDE and (prefix not in PREFIXES or not kind):
        raise errors.UserError(
            f"tag {tag[:60]!r} is neither {OUTSIDE!r} nor one of {', '.join(PREFIXES)} "
            "with a type, as in 'B-PER'"
        )
    return prefix, kind


def find_spans(tags: Iterable[str]) -> list[Span]:
    """Returns the spans of one sentence.

    A span begins at B, at S, and at I or E that cannot go on: after O, after another
    type, after E or S. So any sequence of tags has spans, as in conlleval, whose own
    rules differ in one case, a B right after an E of the same type, which they join.

    Raises:
        UserError: a tag is of none of the schemes.
    """
    spans: list[Span] = []
    is_open = False
    for i, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix == OUTSIDE:
            is_open = False
            continue
        if is_open and prefix in "IE" and spans[-1].type == kind:
            spans[-1] = spans[-1]._replace(end=i + 1)
        else:
            spans.append(Span(i, i + 1, kind))
        is_open = prefix in "BI"
    return spans


def evaluate(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> Scores:
    """Compares the tags of sentences.

    A span is correct if its words and its type are. Spans do not reach into the next
    sentence.

    Args:
        gold: the right tags, sentence by sentence.
        predicted: the tags to score, as many; either may be of any scheme.

    Raises:
        UserError: a tag is of none of the schemes.
        ValueError: the numbers of sentences or words differ.
    """
    of_gold: Counter[str] = Counter()
    of_found: Counter[str] = Counter()
    of_correct: Counter[str] = Counter()
    words = right_words = 0
    for want, have in zip(gold, predicted, strict=True):
        if len(want) != len(have):
            raise ValueError(f"{len(want)} gold tags, {len(have)} predicted")
        words += len(want)
        right_words += sum(a == b for a, b in zip(want, have, strict=True))
        right, found = find_spans(want), find_spans(have)
        of_gold.update(span.type for span in right)
        of_found.update(span.type for span in found)
        of_correct.update(span.type for span in set(right) & set(found))
    by_type = {
        name: Score(of_gold[name], of_found[name], of_correct[name])
        for name in sorted(of_gold | of_found)
    }
    total = Score(of_gold.total(), of_found.total(), of_correct.total())
    return Scores(total, by_type, words, right_words)


def _percentages(score: Score) -> str:
    return (
        f"precision: {score.precision:6.2f}%; recall: {score.recall:6.2f}%; "
        f"FB1: {score.f1:6.2f}"
    )
