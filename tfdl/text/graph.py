"""BERT's tokenizer inside a TensorFlow graph, exact, for exported models."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as text

from tfdl.text.vocab import CLS, SEP, SPECIALS, UNK
from tfdl.text.wordpiece import _CJK, MAX_CHARS_PER_WORD

_CJK_CLASS = "".join(rf"\x{{{a:X}}}-\x{{{b:X}}}" for a, b in _CJK)
_PUNCTUATION = r"([!-/:-@\[-`{-~]|\p{P})"
_SPECIAL = "(" + "|".join(rf"\[{token[1:-1]}\]" for token in SPECIALS) + ")"
# A character that cleaning cannot leave behind holds the place of a special token.
_MARK = "\ufffd"


class GraphBertTokenizer(tf.Module):
    """The rules of `tfdl.text.wordpiece.BertTokenizer` as graph operations.

    tensorflow-text's own BertTokenizer folds case by NFKC and treats control
    characters differently; this is the original's order of steps.

    Args:
        vocab: tokens in the order of their ids.
        do_lower_case: True for uncased models.
        split_special_tokens: False keeps "[MASK]" and the like in a text whole.
    """

    def __init__(
        self,
        vocab: Sequence[str],
        do_lower_case: bool = True,
        split_special_tokens: bool = True,
    ):
        super().__init__()
        self.do_lower_case = do_lower_case
        self.split_special_tokens = split_special_tokens
        ids = {token: i for i, token in enumerate(vocab)}
        self._cls, self._sep = ids.get(CLS, 0), ids.get(SEP, 0)
        self._specials = [(token, ids[token]) for token in SPECIALS if token in ids]
        # Later duplicates win, as in the original; the op wants distinct tokens.
        seen: set[str] = set()
        distinct = list(vocab)
        for i in range(len(distinct) - 1, -1, -1):
            token = distinct[i]
            if not token or token in seen:
                distinct[i] = f"{_MARK}unused{i}"
            seen.add(token)
        self._wordpiece = text.FastWordpieceTokenizer(
            vocab=distinct,
            unknown_token=UNK,
            no_pretokenization=True,
            max_bytes_per_word=1 << 24,
            token_out_type=tf.int32,
            support_detokenization=False,
        )
        self._unk = ids[UNK]
        self._words = tf.constant(list(vocab))

    def words(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Splits strings [B] into words, a ragged string tensor [B, (W)]."""
        x = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="ignore")
        x = tf.strings.regex_replace(x, r"[\t\n\r]", " ")
        x = tf.strings.regex_replace(x, r"[\x{FFFD}\p{Cc}\p{Cf}]", "")
        if not self.split_special_tokens:
            for i, (token, _) in enumerate(self._specials):
                pattern = rf"\[{token[1:-1]}\]"
                x = tf.strings.regex_replace(x, pattern, f" {_MARK}{i} ")
        x = tf.strings.regex_replace(x, r"[\p{Zs}\x{2028}\x{2029}]", " ")
        x = tf.strings.regex_replace(x, f"([{_CJK_CLASS}])", r" \1 ")
        if self.do_lower_case:
            x = tf.strings.lower(x, encoding="utf-8")
            x = text.normalize_utf8(x, "NFD")
            x = tf.strings.regex_replace(x, r"\p{Mn}", "")
        x = tf.strings.regex_replace(x, _PUNCTUATION, r" \1 ")
        return tf.strings.split(x)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Maps strings [B] to token ids, a ragged int32 tensor [B, (T)]."""
        words = self.words(strings)
        flat = words.flat_values
        length = tf.strings.length(flat, unit="UTF8_CHAR")
        too_long = length > MAX_CHARS_PER_WORD
        # The op wants something to look at; the ids are replaced below.
        pieces = self._wordpiece.tokenize(tf.where(too_long, "a", flat))
        unknown = tf.RaggedTensor.from_row_lengths(
            tf.fill([tf.size(flat)], self._unk), tf.ones_like(length, tf.int64)
        )
        pieces = _choose(too_long, unknown, pieces)
        if not self.split_special_tokens:
            for i, (_, token_id) in enumerate(self._specials):
                here = tf.equal(flat, f"{_MARK}{i}")
                single = tf.RaggedTensor.from_row_lengths(
                    tf.fill([tf.size(flat)], token_id), tf.ones_like(length, tf.int64)
                )
                pieces = _choose(here, single, pieces)
        return words.with_flat_values(pieces).merge_dims(1, 2)

    def pack(
        self,
        a: tf.Tensor,
        b: tf.Tensor | None = None,
        max_seq_length: int = 128,
        dynamic: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Tokenizes and packs: [CLS] a [SEP], or [CLS] a [SEP] b [SEP].

        Args:
            a: strings [B].
            b: strings [B]; a row without tokens makes that row a single sequence.
            max_seq_length: the longest row; longer ones are cut as the original
                does: tokens go one by one from the end of the longer text (of b,
                when equal).
            dynamic: pad to the longest row of the batch, not to max_seq_length.

        Returns:
            token_ids, segment_ids and padding_mask, int32 [B, S].
        """
        tokens_a = self.tokenize(a)
        if b is None:
            tokens_a = tokens_a[:, : max_seq_length - 2]
            return self._assemble(tokens_a, None, max_seq_length, dynamic)
        tokens_b = self.tokenize(b)
        length_a, length_b = tokens_a.row_lengths(), tokens_b.row_lengths()
        paired = length_b > 0
        room = tf.where(paired, max_seq_length - 3, max_seq_length - 2)
        room = tf.cast(room, tf.int64)
        keep_a, keep_b = truncated_lengths(length_a, length_b, room)
        tokens_a, tokens_b = _head(tokens_a, keep_a), _head(tokens_b, keep_b)
        return self._assemble(tokens_a, tokens_b, max_seq_length, dynamic)

    def detokenize(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Maps ids [..., T] to tokens (strings) of the same shape."""
        return tf.gather(self._words, token_ids)

    def _assemble(self, a, b, max_seq_length, dynamic):
        batch = a.nrows(out_type=tf.int64)
        cls, sep = _column(batch, self._cls), _column(batch, self._sep)
        first = tf.concat([cls, a, sep], axis=1)
        parts, segments = [first], [tf.zeros_like(first)]
        if b is not None:
            has_b = b.row_lengths() > 0
            end = tf.RaggedTensor.from_row_lengths(
                tf.fill([tf.reduce_sum(tf.cast(has_b, tf.int32))], self._sep),
                tf.cast(has_b, tf.int64),
            )
            second = tf.concat([b, end], axis=1)
            parts.append(second)
            segments.append(tf.ones_like(second))
        tokens = tf.concat(parts, axis=1)
        shape = [None, None if dynamic else max_seq_length]
        ones = tf.ones_like(tokens)
        return {
            "token_ids": tokens.to_tensor(shape=shape),
            "segment_ids": tf.concat(segments, axis=1).to_tensor(shape=shape),
            "padding_mask": ones.to_tensor(shape=shape),
        }


def truncated_lengths(a, b, room):
    """Returns how much `_truncate_seq_pair` keeps of lengths a and b, in one go.

    Popping from the longer (b on ties) until a + b <= room leaves a shorter text
    alone when it fits in half of the room, and else shares the room, a getting
    the odd token.
    """
    over = a + b > room
    half_a, half_b = (room + 1) // 2, room // 2
    short_a, short_b = a <= half_a, b <= half_b
    keep_a = tf.where(short_a, a, tf.where(short_b, room - b, half_a))
    keep_b = tf.where(short_a, tf.minimum(b, room - a), tf.where(short_b, b, half_b))
    keep_a, keep_b = tf.maximum(keep_a, 0), tf.maximum(keep_b, 0)
    return tf.where(over, keep_a, a), tf.where(over, keep_b, b)


def _choose(condition, yes: tf.RaggedTensor, no: tf.RaggedTensor) -> tf.RaggedTensor:
    """Returns rows of `yes` where the condition [N] holds, else rows of `no`."""
    count = tf.cast(tf.size(condition), tf.int64)
    both = tf.concat([no, yes], axis=0)
    rows = tf.range(count) + tf.where(condition, count, tf.zeros_like(count))
    return tf.gather(both, rows)


def _head(tokens: tf.RaggedTensor, lengths) -> tf.RaggedTensor:
    positions = tf.ragged.range(tokens.row_lengths())
    keep = positions.flat_values < tf.repeat(lengths, tokens.row_lengths())
    return tf.ragged.boolean_mask(tokens, tokens.with_flat_values(keep))


def _column(batch, value: int) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_tensor(
        tf.fill([batch, tf.constant(1, tf.int64)], tf.constant(value, tf.int32))
    )
