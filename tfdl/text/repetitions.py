"""fast.ai's rules for repeated characters and words, without back-references.

A text is cut into pieces; a run is a maximal stretch of equal ones. A run that is
replaced may take the first piece of the run behind it along, as the originals'
expressions do, which go from left to right.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as text_ops

from tfdl.text import fastai_rules, unicode_classes
from tfdl.text.html_graph import join

LEAST_WORDS = 4  # fastai2: 3
LEAST_WORDS_2 = 3


class _Runs(NamedTuple):
    """Runs of words: `of` is each word's run, the rest is one value a run."""

    of: tf.Tensor
    first: tf.Tensor
    size: tf.Tensor


class Repetitions:
    """The two rules of one generation."""

    def __init__(self, generation: str):
        self._generation = generation
        self._characters, self._words = fastai_rules.marks(generation)
        classes = unicode_classes.members()
        self._word, self._space = f"[{classes['word']}]+", f"[{classes['space']}]"
        self._other = f"[^{classes['space']}]+"

    def characters(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps strings [B]: "soooo" becomes "s xxrep 4 o "."""
        split = tf.strings.unicode_split(texts, "UTF-8")
        flat, rows = split.flat_values, split.value_rowids()
        runs = _runs(_equal_next(flat, rows), tf.size(flat))
        what = tf.gather(flat, runs.first)
        least = fastai_rules.LEAST_REPEATED[self._generation]
        long = runs.size >= least
        # Few runs are long: only their characters are looked at.
        is_space = tf.strings.regex_full_match(tf.where(long, what, ""), self._space)
        long &= ~is_space
        count = tf.strings.as_string(runs.size)
        new = " " + self._characters + " " + count + " " + what + " "
        is_first = tf.scatter_nd(
            runs.first[:, None],
            tf.ones_like(runs.first, tf.bool),
            tf.shape(flat, tf.int64),
        )
        instead = tf.where(is_first, tf.gather(new, runs.of), "")
        flat = tf.where(tf.gather(long, runs.of), instead, flat)
        return join(flat, rows, split.nrows())

    def words(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps strings [B]: "no no no no" becomes " xxwrep 4 no "."""
        split = text_ops.regex_split(texts, self._word, self._word)
        flat, rows = split.flat_values, split.value_rowids()
        is_word = tf.strings.regex_full_match(flat, self._word)
        # Every word has a piece before and behind it, "" where there is none.
        words = tf.where(is_word)[:, 0]
        padded = tf.concat([[""], flat, [""]], 0)
        row_of = tf.concat([[-1], rows, [-2]], 0)
        row = tf.gather(rows, words)
        before = tf.where(tf.gather(row_of, words) == row, tf.gather(padded, words), "")
        behind = tf.where(
            tf.gather(row_of, words + 2) == row, tf.gather(padded, words + 2), ""
        )
        word = tf.gather(flat, words)
        if self._generation == "fastai2":
            flat = self._words_2(flat, words, row, word, before, behind)
        else:
            flat = self._words_1(flat, words, row, word, behind)
        return join(flat, rows, split.nrows())

    def _words_2(self, flat, words, row, word, before, behind):
        """`(?:\\s|^)(\\w+)\\s+((?:\\1\\s+)+)\\1(\\s|\\W|$)`."""
        gap = tf.strings.regex_full_match(behind, f"{self._space}+")
        runs = _runs(_equal_next(word, row) & gap[:-1], tf.size(word))
        lead = tf.gather(before, runs.first)
        at_start = lead == ""
        after_space = tf.strings.regex_full_match(lead, f"(?s:.*){self._space}")
        # A run's first word counts behind white space that is not yet used up; of
        # another run that is replaced, the one character behind it is.
        blocked = ~(at_start | after_space)
        lone = after_space & (tf.strings.length(lead, "UTF8_CHAR") == 1)
        size = runs.size - tf.cast(blocked, tf.int64)
        found, lost = _from_left(size, lone & ~blocked, LEAST_WORDS_2)
        skip = tf.cast(blocked | lost, tf.int64)
        count = tf.strings.as_string(runs.size - skip)
        new = " " + self._words + " " + count + " " + tf.gather(word, runs.first) + " "
        # What goes: the space before the first word, all that follows it in the run.
        index = tf.range(tf.size(word, tf.int64)) - tf.gather(runs.first, runs.of)
        skip, size = tf.gather(skip, runs.of), tf.gather(runs.size, runs.of)
        found = tf.gather(found, runs.of)
        is_first, inside = found & (index == skip), found & (index > skip)
        replaced = tf.where(
            is_first, tf.gather(new, runs.of), tf.where(inside, "", word)
        )
        flat = _put(flat, words, replaced)
        shorter = tf.strings.regex_replace(before, r"(?s).\z", "")
        flat = _put(flat, words - 1, shorter, is_first & (before != ""))
        return _put(flat, words - 1, tf.fill(tf.shape(word), ""), inside)

    def _words_1(self, flat, words, row, word, behind):
        """`(\\b\\w+\\W+)(\\1{3,})`: words and what is behind them, all the same."""
        has_gap = behind != ""
        same_word = _equal_next(word, row)
        same_gap = behind[1:] == behind[:-1]
        runs = _runs(same_word & same_gap & has_gap[:-1], tf.size(word))
        # The last word may have more behind it than the others.
        last = tf.minimum(runs.first + runs.size, tf.size(word, tf.int64) - 1)
        gap = tf.gather(behind, runs.first)
        next_gap = tf.gather(behind, last)
        length = tf.strings.length(gap)
        short = tf.minimum(length, tf.strings.length(next_gap))
        begins = tf.strings.substr(next_gap, tf.zeros_like(short), short) == gap
        follows = tf.concat([same_word, [False]], 0)
        follows = tf.gather(follows, runs.first + runs.size - 1)
        more = follows & begins & (gap != "")
        size = tf.where(gap == "", tf.zeros_like(runs.size), runs.size)
        size += tf.cast(more, tf.int64)
        takes = _shifted(more)
        found, lost = _from_left(size, takes, LEAST_WORDS)
        count = size - tf.cast(lost, tf.int64)
        unit = tf.gather(word, runs.first) + gap
        number = tf.strings.as_string(self._pieces(unit, count - 1) + 1)
        new = " " + self._words + " " + number + " " + unit + " "
        index = tf.range(tf.size(word, tf.int64)) - tf.gather(runs.first, runs.of)
        inside = tf.gather(found, runs.of)
        is_first = inside & (index == tf.cast(tf.gather(lost, runs.of), tf.int64))
        kept = tf.gather(lost, runs.of) & (index == 0)
        inside &= ~kept
        replaced = tf.where(
            is_first, tf.gather(new, runs.of), tf.where(inside, "", word)
        )
        gaps = tf.where(inside, "", behind)
        # The one that is taken along from the next run.
        taken = tf.where(found & more)[:, 0]
        where = tf.gather(last, taken)
        replaced = _put(replaced, where, tf.fill(tf.shape(where), ""))
        length = tf.gather(length, taken)
        long = tf.gather(next_gap, taken)
        rest = tf.strings.substr(long, length, tf.strings.length(long) - length)
        gaps = _put(gaps, where, rest)
        flat = _put(flat, words, replaced)
        return _put(flat, words + 1, gaps, has_gap)

    def _pieces(self, unit, times):
        """Returns how many pieces `str.split` makes of a unit repeated."""
        marked = tf.strings.regex_replace(unit, self._other, "x")
        each = tf.strings.length(tf.strings.regex_replace(marked, self._space, ""))
        each = tf.cast(each, tf.int64)
        glued = ~tf.strings.regex_full_match(unit, f"(?s:.*){self._space}")
        return each * times - tf.where(glued, times - 1, tf.zeros_like(times))


def _equal_next(values, rows):
    """Tells for all but the last whether the next one is equal, in the same row."""
    return (values[1:] == values[:-1]) & (rows[1:] == rows[:-1])


def _runs(joined: tf.Tensor, count: tf.Tensor) -> _Runs:
    """Returns the runs of N things, `joined` [N - 1] telling which hang together."""
    starts = tf.concat([[True], ~joined], 0)[:count]
    of = tf.cumsum(tf.cast(starts, tf.int64)) - 1
    first = tf.where(starts)[:, 0]
    size = tf.math.unsorted_segment_sum(tf.ones_like(of), of, tf.size(first, tf.int64))
    return _Runs(of, first, size)


def _from_left(size, may_lose, least: int):
    """Returns which runs are replaced, and which lose their first word before that.

    A run loses it if it may and the run before is replaced. What comes of a run that
    is long enough only with it depends on the run before, whatever else does not:
    along a chain of such runs every other one is replaced.
    """
    # The first has none before it.
    may_lose &= tf.range(tf.size(size)) > 0
    open_ = may_lose & (size == least)
    fixed = size >= least
    root = tf.cumsum(tf.cast(~open_, tf.int64)) - 1
    roots = tf.where(~open_)[:, 0]
    start = tf.gather(roots, root)
    odd = (tf.range(tf.size(size, tf.int64)) - start) % 2 == 1
    found = tf.math.logical_xor(tf.gather(fixed, start), odd)
    before = _shifted(found)
    return found, may_lose & before


def _shifted(flags):
    """Returns each one's predecessor's flag."""
    return tf.concat([[False], flags], 0)[: tf.size(flags)]


def _put(values, where, new, chosen=None):
    """Returns `values` with `new` at the places `where` that are chosen."""
    if chosen is not None:
        where, new = tf.boolean_mask(where, chosen), tf.boolean_mask(new, chosen)
    return tf.tensor_scatter_nd_update(values, where[:, None], new)
