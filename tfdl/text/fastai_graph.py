"""fast.ai's text preparation within a TensorFlow graph.

Gives the tokens of `fastai_rules` and `base_tokenizers` for the same strings. RE2 has
no back-references, by which the originals find repetitions; here runs of equal pieces
are found by comparing neighbours.
"""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as text_ops

from tfdl.engine import errors
from tfdl.text import base_tokenizers, fastai_rules, unicode_classes
from tfdl.text.fastai_vocab import END, WORDS, Vocabulary
from tfdl.text.html_graph import Unescape, join
from tfdl.text.repetitions import Repetitions


class GraphTokenizer(tf.Module):
    """Texts to token ids, within a graph.

    Args:
        itos: the vocabulary.
        rules: one of `fastai_rules.GENERATIONS`, or "words".
        base: one of `base_tokenizers.BASES`, but not spacy.
        model: of SentencePiece.

    Raises:
        UserError: the tokenizer does not run in a graph.
    """

    def __init__(
        self,
        itos: Sequence[str],
        rules: str = "fastai2",
        base: str = "regex",
        model: bytes | None = None,
    ):
        super().__init__()
        self.rules = rules if rules == WORDS else fastai_rules.check(rules)
        self.base = base_tokenizers.check(base)
        if base == "spacy":
            raise errors.UserError(
                "the tokenizer 'spacy' does not run in a graph; use signatures that "
                "take ids"
            )
        if base == "sentencepiece":
            if not model:
                raise errors.UserError("the tokenizer 'sentencepiece' needs its model")
            self._sentencepiece = text_ops.SentencepieceTokenizer(
                model=model, out_type=tf.string
            )
        self.vocabulary = Vocabulary(itos)
        ids = self.vocabulary.ids
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                list(ids), list(ids.values()), tf.string, tf.int32
            ),
            default_value=self.vocabulary.unk_id,
        )
        if rules != WORDS:
            self._unescape = Unescape()
            self._repetitions = Repetitions(rules)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Maps strings [B] to ids, ragged int32 [B, T]; the first token leads."""
        tokens = self.tokens(texts)
        return tokens.with_flat_values(self._table.lookup(tokens.flat_values))

    def tokens(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Maps strings [B] to tokens, ragged strings [B, T]."""
        texts = tf.strings.unicode_transcode(
            tf.convert_to_tensor(texts), "UTF-8", "UTF-8", errors="replace"
        )
        if self.rules == WORDS:
            space = f"[{unicode_classes.members()['space']}]+"
            marked = tf.strings.regex_replace(texts + "\n", "\n", f" {END} ")
            return tf.strings.split(tf.strings.regex_replace(marked, space, " "))
        return self._finished(self._split(self.prepared(texts)))

    def prepared(self, texts: tf.Tensor) -> tf.Tensor:
        """Maps strings [B] to what the base tokenizer gets; see `fastai_rules`."""
        rules = self.rules
        first = "xfld 1 " if rules == "fastai07" else ""
        texts = fastai_rules.PREFIX[rules] + first + texts
        for old, new in fastai_rules.REPLACED[rules]:
            texts = tf.strings.regex_replace(
                texts, _literal(old), new.replace("\\", r"\\")
            )
        texts = self._unescape(texts)
        if rules != "fastai2":
            texts = _one_space(texts)
        texts = self._repetitions.characters(texts)
        texts = self._repetitions.words(texts)
        if rules == "fastai07":
            texts = _mark_caps_07(texts)
        spaced = f"({fastai_rules.SPACED[rules]})"
        texts = _one_space(tf.strings.regex_replace(texts, spaced, r" \1 "))
        if rules == "fastai2":
            texts = "xxbos " + _stripped(_lower(_mark_capitals(texts)))
        return texts

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        if self.base == "sentencepiece":
            return self._sentencepiece.tokenize(texts)
        if self.base == "whitespace":
            if self.rules != "fastai07":
                return tf.strings.split(texts, sep=" ")
            return text_ops.regex_split(texts, "\n+|[^ \n]+| +", "\n+|[^ \n]+")
        classes = unicode_classes.members()
        classes = {"W": classes["word"], "S": classes["space"]}
        for pattern, replacement in base_tokenizers.CONTRACTIONS:
            pattern = base_tokenizers.filled(pattern, classes)
            texts = tf.strings.regex_replace(texts, pattern, replacement)
        token = base_tokenizers.filled(base_tokenizers.TOKEN, classes)
        tokens = text_ops.regex_split(texts, f"{token}|(?s:.)", token)
        bare = tf.strings.regex_replace(
            tokens.flat_values, f"^{base_tokenizers.MARK}", ""
        )
        return tokens.with_flat_values(bare)

    def _finished(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        if self.rules != "fastai1":
            return tokens
        flat, classes = tokens.flat_values, unicode_classes.members()
        size = tf.strings.length(flat, "UTF8_CHAR")
        capital = f"[{classes['upper']}]"
        lower, rest = f"[{classes['lower']}]", f"[^{classes['not_lower']}]*"
        up = _matches(flat, _all_upper()) & (size > 1)
        maj = _matches(flat, f"{capital}{rest}{lower}{rest}")
        mark = tf.where(up, "xxup", tf.where(maj, "xxmaj", ""))
        both = tf.reshape(tf.stack([mark, _lower(flat)], axis=1), [-1])
        double = tf.RaggedTensor.from_row_splits(both, tokens.row_splits * 2)
        return tf.ragged.boolean_mask(double, double.with_flat_values(both != ""))


def _matches(texts: tf.Tensor, pattern: str) -> tf.Tensor:
    return tf.strings.regex_full_match(texts, f"(?s:{pattern})")


def _all_upper() -> str:
    """Returns the pattern of what `str.isupper` says yes to."""
    classes = unicode_classes.members()
    other = f"[^{classes['not_upper']}]*"
    return f"{other}[{classes['upper']}]{other}"


def _literal(text: str) -> str:
    return "".join(c if c.isalnum() or c in " \n" else "\\" + c for c in text)


def _one_space(texts):
    return tf.strings.regex_replace(texts, " {2,}", " ")


def _lower(texts):
    return tf.strings.lower(texts, encoding="utf-8")


def _stripped(texts):
    space = f"[{unicode_classes.members()['space']}]+"
    return tf.strings.regex_replace(texts, rf"\A{space}|{space}\z", "")


def _mark_capitals(texts):
    """Both of fastai 2's rules for capitals at once: no word fits both."""
    space = unicode_classes.members()["space"]
    word = f"[^{space}]+"
    pieces = text_ops.regex_split(texts, word, word)
    flat = pieces.flat_values
    long = tf.strings.length(flat, "UTF8_CHAR") > 1
    up = _matches(flat, f"[A-Z]+[^a-z{space}]*")
    maj = _matches(flat, f"[A-Z][^A-Z{space}]*") & ~up
    mark = tf.where(up & long, "xxup ", tf.where(maj & long, "xxmaj ", ""))
    flat = tf.where(up | maj, mark + _lower(flat), flat)
    return join(flat, pieces.value_rowids(), pieces.nrows())


def _mark_caps_07(texts):
    word = f"[{unicode_classes.members()['word']}]+"
    pieces = text_ops.regex_split(texts, word, word)
    flat = pieces.flat_values
    up = _matches(flat, _all_upper()) & (tf.strings.length(flat, "UTF8_CHAR") > 2)
    flat = tf.where(up, " t_up ", "") + _lower(flat)
    return join(flat, pieces.value_rowids(), pieces.nrows())
