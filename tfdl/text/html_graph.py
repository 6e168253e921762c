"""Python's `html.unescape` within a graph."""

import functools
import html
import html.entities

import tensorflow as tf
import tensorflow_text as text_ops

# What html.unescape takes for a reference.
_REFERENCE = r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)"
_MOST_DIGITS = 7  # of 0x10FFFF, in either base
_REPLACEMENT = 0xFFFD


class Unescape(tf.Module):
    """Replaces references such as &eacute; and &#233; in strings."""

    def __init__(self):
        super().__init__()
        names = html.entities.html5
        self._named = _table({f"&{name}": text for name, text in names.items()})
        # Those that also count without their semicolon, as the longest prefix.
        short = sorted((n for n in names if n[-1] != ";"), key=len, reverse=True)
        self._short = "^&(?:" + "|".join(short) + ")"
        self._invalid = _table(_invalid_codes())

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps strings [N] to strings [N]."""
        return tf.cond(
            tf.reduce_any(tf.strings.regex_full_match(texts, "(?s).*&.*")),
            lambda: self._replace(texts),
            lambda: texts,
        )

    def _replace(self, texts):
        pieces = text_ops.regex_split(texts, _REFERENCE, _REFERENCE)
        flat = pieces.flat_values
        is_reference = tf.strings.regex_full_match(flat, _REFERENCE)
        where = tf.where(is_reference)[:, 0]
        references = tf.gather(flat, where)
        is_number = tf.strings.regex_full_match(references, "(?s)&#.*")
        new = tf.where(is_number, self._numbers(references), self._names(references))
        flat = tf.tensor_scatter_nd_update(flat, where[:, None], new)
        return join(flat, pieces.value_rowids(), pieces.nrows())

    def _names(self, references):
        whole = self._named.lookup(references)
        rest = tf.strings.regex_replace(references, self._short, "")
        size = tf.strings.length(references) - tf.strings.length(rest)
        prefix = tf.strings.substr(references, tf.zeros_like(size), size)
        known = self._named.lookup(prefix)
        fallback = tf.where(size > 0, known + rest, references)
        return tf.where(whole == "", fallback, whole)

    def _numbers(self, references):
        is_hex = tf.strings.regex_full_match(references, "(?s)&#[xX].*")
        digits = tf.strings.regex_replace(references, "^&#[xX]?0*|[^0-9a-fA-F]", "")
        digits = tf.where(
            tf.strings.regex_full_match(references, "(?s)&#.*"), digits, ""
        )
        too_long = tf.strings.length(digits) > _MOST_DIGITS
        digits = tf.where(too_long, "", digits)
        codes = tf.strings.unicode_decode(tf.strings.lower(digits), "UTF-8")
        values = codes.flat_values
        values = tf.where(values >= ord("a"), values - ord("a") + 10, values - ord("0"))
        base = tf.gather(tf.where(is_hex, 16, 10), codes.value_rowids())
        position = tf.ragged.range(codes.row_lengths()).flat_values
        size = tf.gather(codes.row_lengths(), codes.value_rowids())
        power = tf.pow(tf.cast(base, tf.int64), size - 1 - tf.cast(position, tf.int64))
        number = tf.math.unsorted_segment_sum(
            tf.cast(values, tf.int64) * power, codes.value_rowids(), codes.nrows()
        )
        surrogate = (number >= 0xD800) & (number < 0xE000)
        bad = too_long | surrogate | (number > 0x10FFFF)
        number = tf.cast(
            tf.where(bad, tf.constant(_REPLACEMENT, tf.int64), number), tf.int32
        )
        plain = tf.strings.unicode_encode(number[:, None], "UTF-8")
        special = self._invalid.lookup(tf.strings.as_string(number))
        is_gone = special == _GONE
        special = tf.where(special == "", plain, special)
        return tf.where(is_gone, "", special)


_GONE = "gone"


@functools.cache
def _invalid_codes() -> dict[str, str]:
    """Returns the code points that become others, or nothing, by their numbers."""
    codes = [*range(0xA0), 0xFDD0, *range(0xFDD0, 0xFDF0)]
    codes += [
        plane + low for plane in range(0, 0x110000, 0x10000) for low in (0xFFFE, 0xFFFF)
    ]
    found = {}
    for code in codes:
        text = html.unescape(f"&#{code};")
        if text != chr(code):
            found[str(code)] = text or _GONE
    return found


def _table(entries: dict[str, str]) -> tf.lookup.StaticHashTable:
    keys, values = list(entries), list(entries.values())
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, values), default_value=""
    )


def join(pieces: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns each row's pieces [P], put together again, [count]."""
    return tf.strings.unsorted_segment_join(pieces, rows, count)
