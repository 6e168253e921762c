"""BERT's tokenizer inside a TensorFlow graph, exact, for exported models."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as text

from tfdl.engine import errors
from tfdl.text.vocab import CLS, PAD, SEP, SPECIALS, UNK
from tfdl.text.wordpiece import CJK, DECODE_RULES, MAX_CHARS_PER_WORD

_CJK_CLASS = "".join(rf"\x{{{a:X}}}-\x{{{b:X}}}" for a, b in CJK)
_PUNCTUATION = r"([!-/:-@\[-`{-~]|\p{P})"
# A character that cleaning cannot leave behind holds the place of a special token.
_MARK = "\ufffd"
# What tensorflow-text's WordPiece takes; published vocabularies stay far below.
MAX_BYTES_PER_TOKEN = 256


class GraphBertTokenizer(tf.Module):
    """The rules of `tfdl.text.wordpiece.BertTokenizer` as graph operations.

    tensorflow-text's own BertTokenizer folds case by NFKC and treats control
    characters differently; this is the original's order of steps. TensorFlow's tables
    for case are those of Unicode 13: capitals that are newer keep their case here.

    Args:
        vocab: tokens in the order of their ids.
        do_lower_case: True for uncased models.
        split_special_tokens: False keeps "[MASK]" and the like in a text whole.

    Raises:
        UserError: the vocabulary lacks [UNK] or holds a token of over 256 bytes.
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
        if UNK not in ids:
            raise errors.UserError(f"the vocabulary lacks {UNK}")
        self._cls, self._sep, self._unk = ids.get(CLS), ids.get(SEP), ids[UNK]
        self._specials = [token for token in SPECIALS if token in ids]
        self._wordpiece = text.FastWordpieceTokenizer(
            vocab=_distinct(vocab, ids),
            unknown_token=UNK,
            no_pretokenization=True,
            max_bytes_per_word=1 << 24,
            token_out_type=tf.int32,
            support_detokenization=False,
        )
        self._words = tf.constant(list(vocab))

    def words(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Splits strings [B] into words, a ragged string tensor [B, (W)]."""
        x = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="ignore")
        x = tf.strings.regex_replace(x, r"[\t\n\r]", " ")
        if not self.split_special_tokens:
            # Before cleaning, which could join the parts of a special token. A
            # character that cleaning drops takes the place of the text's own marks.
            x = tf.strings.regex_replace(x, _MARK, "\x01")
            for i, token in enumerate(self._specials):
                pattern = rf"\[{token[1:-1]}\]"
                x = tf.strings.regex_replace(x, pattern, f" {_MARK}{i} ")
            x = tf.strings.regex_replace(x, r"[\p{Cc}\p{Cf}]", "")
        else:
            x = tf.strings.regex_replace(x, r"[\x{FFFD}\p{Cc}\p{Cf}]", "")
        x = tf.strings.regex_replace(x, r"[\p{Zs}\x{2028}\x{2029}]", " ")
        x = tf.strings.regex_replace(x, f"([{_CJK_CLASS}])", r" \1 ")
        if self.do_lower_case:
            x = tf.strings.lower(x, encoding="utf-8")
            x = text.normalize_utf8(x, "NFD")
            x = tf.strings.regex_replace(x, r"\p{Mn}", "")
        x = tf.strings.regex_replace(x, _PUNCTUATION, r" \1 ")
        words = tf.strings.split(x)
        if self.split_special_tokens:
            return words
        flat = words.flat_values
        for i, token in enumerate(self._specials):
            flat = tf.where(tf.equal(flat, f"{_MARK}{i}"), token, flat)
        return words.with_flat_values(flat)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Maps strings [B] to token ids, a ragged int32 tensor [B, (T)]."""
        words = self.words(strings)
        flat = words.flat_values
        too_long = tf.strings.length(flat, unit="UTF8_CHAR") > MAX_CHARS_PER_WORD
        # As words, "[UNK]" and the other special tokens match their own entries.
        pieces = self._wordpiece.tokenize(tf.where(too_long, UNK, flat))
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

        Raises:
            UserError: max_seq_length leaves no room for the special tokens.
        """
        least = 2 if b is None else 3
        if max_seq_length < least:
            raise errors.UserError(
                f"max_seq_length is {max_seq_length}, special tokens take {least}"
            )
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

    def decode(self, token_ids: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Maps ids [B, T] to readable strings [B], as `BertTokenizer.decode` does."""
        if not isinstance(token_ids, tf.RaggedTensor):
            token_ids = tf.RaggedTensor.from_tensor(token_ids)
        flat = token_ids.flat_values
        known = (flat >= 0) & (flat < tf.size(self._words, out_type=flat.dtype))
        unknown = tf.constant(self._unk, flat.dtype)
        words = self.detokenize(tf.where(known, flat, unknown))
        keep = tf.reduce_all([tf.not_equal(words, x) for x in (PAD, CLS, SEP)], axis=0)
        kept = tf.ragged.boolean_mask(
            token_ids.with_flat_values(words), token_ids.with_flat_values(keep)
        )
        x = tf.strings.reduce_join(kept, axis=1, separator=" ")
        x = tf.strings.regex_replace(x, " ##", "")
        for pattern, replacement in DECODE_RULES:
            x = tf.strings.regex_replace(x, pattern, replacement)
        return x

    def _assemble(self, a, b, max_seq_length, dynamic):
        if self._cls is None or self._sep is None:
            raise errors.UserError(f"the vocabulary lacks {CLS} or {SEP}")
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


def _distinct(vocab: Sequence[str], ids: dict[str, int]) -> list[str]:
    """Returns the vocabulary as the op wants it, every id in its place.

    Entries that can match no word give way to one that matches none either: empty
    ones, those longer than any word, and all but the last of duplicates (the last
    one wins in the original).
    """
    result = []
    for i, token in enumerate(vocab):
        bare = token.removeprefix("##")
        if not bare or len(bare) > MAX_CHARS_PER_WORD or ids[token] != i:
            result.append(f"{_MARK}unused{i}")
            continue
        size = len(bare.encode())
        if size > MAX_BYTES_PER_TOKEN:
            raise errors.UserError(
                f"token {i} of the vocabulary has {size} bytes, the graph tokenizer "
                f"takes {MAX_BYTES_PER_TOKEN}: {bare[:20]!r}..."
            )
        result.append(token)
    return result


def _head(tokens: tf.RaggedTensor, lengths) -> tf.RaggedTensor:
    positions = tf.ragged.range(tokens.row_lengths())
    keep = positions.flat_values < tf.repeat(lengths, tokens.row_lengths())
    return tf.ragged.boolean_mask(tokens, tokens.with_flat_values(keep))


def _column(batch, value: int) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_tensor(
        tf.fill([batch, tf.constant(1, tf.int64)], tf.constant(value, tf.int32))
    )
