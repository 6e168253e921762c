"""Vocabularies of fast.ai's three generations, and texts as ids."""

import collections
import json
from collections.abc import Iterable, Mapping, Sequence

from tfdl.engine import errors, files
from tfdl.text import base_tokenizers, fastai_rules

FAKE = "xxfake"
MAX_BYTES = 256 << 20
# (largest vocabulary, least count) that the originals use.
DEFAULTS = {
    "fastai07": (30_000, 2),
    "fastai1": (60_000, 2),
    "fastai2": (60_000, 3),
    "words": (1 << 24, 1),
}

# Text that is tokenized already, a sentence a line (awd-lstm-lm's corpora).
WORDS = "words"
END = "<eos>"


def special_tokens(rules: str) -> tuple[str, ...]:
    """Returns the special tokens in the order of their ids."""
    if rules == WORDS:
        return ("<unk>", "<pad>")
    return fastai_rules.special_tokens(rules)


def build(
    counts: Mapping[str, int], generation: str, size: int = 0, least: int = 0
) -> list[str]:
    """Returns a vocabulary, most frequent words first, as a generation builds it.

    Args:
        counts: of the tokens; equal counts keep this order.
        generation: one of `fastai_rules.GENERATIONS`.
        size: the most words; 0 takes the generation's own.
        least: words seen less often are left out; 0 takes the generation's own.

    Returns:
        The words in the order of their ids. `fastai1` fills a vocabulary that is not
        full up to a multiple of 8 with "xxfake"; `fastai2` always adds one to eight.
    """
    special = special_tokens(generation)
    size = size or DEFAULTS[generation][0]
    least = least or DEFAULTS[generation][1]
    frequent = collections.Counter(counts).most_common(size)
    words = [word for word, count in frequent if count >= least]
    if generation == WORDS:
        return [*special, *(word for word in words if word not in special)]
    if generation == "fastai07":
        return [*special, *words]
    words = [*special, *(word for word in words if word not in special)][:size]
    if generation == "fastai2":
        return words + [FAKE] * (8 - len(words) % 8)
    missing = -len(words) % 8 if len(words) < size else 0
    return words + [FAKE] * missing


class Vocabulary:
    """Words and their ids.

    Args:
        itos: the words by id. A word that stands there twice has its last id, and
            "xxfake" has none.
    """

    def __init__(self, itos: Sequence[str]):
        if not itos:
            raise errors.UserError("an empty vocabulary")
        self.itos = list(itos)
        self.ids = {word: i for i, word in enumerate(itos) if word != FAKE}
        self.unk_id = self._first("xxunk", "_unk_", "<unk>", "\u2581xxunk", default=0)
        self.pad_id = self._first("xxpad", "_pad_", "<pad>", "\u2581xxpad", default=1)
        self.bos_id = self._first("xxbos", "xbos", "\u2581xxbos", default=self.unk_id)

    def __len__(self) -> int:
        return len(self.itos)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Returns the ids of tokens; of unknown ones that of "xxunk"."""
        get, unk = self.ids.get, self.unk_id
        return [get(token, unk) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns the tokens of ids."""
        return [self.itos[i] for i in ids]

    def _first(self, *names: str, default: int) -> int:
        return next((self.ids[n] for n in names if n in self.ids), default)


def dump(itos: Sequence[str]) -> str:
    """Returns a vocabulary as `vocab.json`: words may hold line ends."""
    return json.dumps(list(itos), ensure_ascii=False, indent=0) + "\n"


def load(path: files.PathLike) -> list[str]:
    """Reads a `vocab.json`.

    Raises:
        UserError: it is missing, damaged, or no list of strings.
    """
    try:
        words = json.loads(files.read_text(path, MAX_BYTES))
    except json.JSONDecodeError as error:
        raise errors.UserError(f"{path}:{error.lineno}: {error.msg}") from None
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
        raise errors.UserError(f"{path}: a vocabulary is a list of strings")
    return words


class TextTokenizer:
    """Texts to tokens and ids, in Python.

    Args:
        rules: one of `fastai_rules.GENERATIONS`, or "words".
        base: one of `base_tokenizers.BASES`; "words" has no use for it.
        itos: the vocabulary; without it there are tokens, no ids.
        model: of SentencePiece.
    """

    def __init__(
        self,
        rules: str = "fastai2",
        base: str = "regex",
        itos: Sequence[str] | None = None,
        model: bytes | None = None,
    ):
        self.rules = rules if rules == WORDS else fastai_rules.check(rules)
        self._split = base_tokenizers.create(base, rules, model)
        self.vocabulary = None if itos is None else Vocabulary(itos)

    def tokens(self, text: str | Sequence[str]) -> list[str]:
        """Returns the tokens of a document: a text, or its fields."""
        fields = [text] if isinstance(text, str) else list(text)
        if self.rules == WORDS:
            return "\n".join([*fields, ""]).replace("\n", f" {END} ").split()
        joined = fastai_rules.join_fields(fields, self.rules)
        prepared = fastai_rules.prepared(joined, self.rules)
        return fastai_rules.finished(self._split(prepared), self.rules)

    def encode(self, text: str | Sequence[str]) -> list[int]:
        """Returns the ids of a document."""
        return self.vocabulary.encode(self.tokens(text))

    def decode(self, ids: Iterable[int]) -> str:
        """Returns ids as a text for people."""
        return fastai_rules.readable(self.vocabulary.decode(ids))
