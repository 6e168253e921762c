"""BERT's tokenizer in Python (google-research/bert, tokenization.py)."""

import re
import unicodedata
from collections.abc import Sequence

from tfdl.engine import errors
from tfdl.text.vocab import CLS, MASK, PAD, SEP, SPECIALS, UNK

MAX_CHARS_PER_WORD = 200
MAX_CACHED_WORDS = 500_000

_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_CJK_CHAR = re.compile("([" + "".join(f"{chr(a)}-{chr(b)}" for a, b in _CJK) + "])")
_SPECIAL = re.compile("(" + "|".join(re.escape(token) for token in SPECIALS) + ")")


class BasicTokenizer:
    """Cleans text and splits it at white space and punctuation.

    Args:
        do_lower_case: lowercase and strip accents, as uncased models want.
    """

    def __init__(self, do_lower_case: bool = True):
        self.do_lower_case = do_lower_case

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the words and punctuation marks of a text."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "ignore")
        if text.isascii():
            return self._ascii(text)
        text = "".join(map(_clean, text))
        words = []
        for word in _CJK_CHAR.sub(r" \1 ", text).split():
            if self.do_lower_case:
                word = unicodedata.normalize("NFD", word.lower())
                word = "".join(c for c in word if unicodedata.category(c) != "Mn")
            words.extend(_split_punctuation(word))
        return " ".join(words).split()

    def _ascii(self, text: str) -> list[str]:
        text = _ASCII_CONTROL.sub("", text)
        if self.do_lower_case:
            text = text.lower()
        return _ASCII_TOKEN.findall(text)


class BertTokenizer:
    """Basic tokenization, then greedy longest-match-first WordPiece.

    Args:
        vocab: tokens in the order of their ids; of duplicates the last counts.
        do_lower_case: True for uncased models.
        split_special_tokens: whether "[MASK]" in a text is split like any other
            text, as in the original; False keeps special tokens whole.

    Raises:
        UserError: the vocabulary lacks [UNK].
    """

    def __init__(
        self,
        vocab: Sequence[str],
        do_lower_case: bool = True,
        split_special_tokens: bool = True,
    ):
        self.vocab = list(vocab)
        self.do_lower_case = do_lower_case
        self.split_special_tokens = split_special_tokens
        self._ids = {token: i for i, token in enumerate(self.vocab)}
        if UNK not in self._ids:
            raise errors.UserError(f"the vocabulary lacks {UNK}")
        self._basic = BasicTokenizer(do_lower_case)
        self._cache: dict[str, list[str]] = {}
        self._longest = max(map(len, self.vocab))

    def basic(self, text: str | bytes) -> list[str]:
        """Returns the words of a text, before WordPiece."""
        return self._basic.tokenize(text)

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the WordPiece tokens of a text."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "ignore")
        if self.split_special_tokens or "[" not in text:
            return [piece for word in self.basic(text) for piece in self._pieces(word)]
        tokens = []
        for part in _SPECIAL.split(text):
            if part in SPECIALS:
                tokens.append(part)
                continue
            for word in self.basic(part):
                tokens.extend(self._pieces(word))
        return tokens

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """Returns the ids of tokens.

        Raises:
            UserError: a token is not in the vocabulary.
        """
        try:
            return [self._ids[token] for token in tokens]
        except KeyError as error:
            raise errors.UserError(f"token {error} is not in the vocabulary") from None

    def encode(self, text: str | bytes) -> list[int]:
        """Returns the token ids of a text, without [CLS] and [SEP]."""
        return [self._ids[token] for token in self.tokenize(text)]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Returns readable text: pieces joined, no spaces before punctuation."""
        words: list[str] = []
        for i in ids:
            token = self.vocab[i] if 0 <= i < len(self.vocab) else UNK
            if skip_special_tokens and token in (PAD, CLS, SEP):
                continue
            if token.startswith("##") and words:
                words[-1] += token[2:]
            else:
                words.append(token)
        text = re.sub(r" ([.,!?;:)\]}%])", r"\1", " ".join(words))
        return re.sub(r"([(\[{]) (?=\S)", r"\1", text)

    @property
    def pad_id(self) -> int:
        """Id of [PAD]; 0 in vocabularies without one."""
        return self._ids.get(PAD, 0)

    @property
    def unk_id(self) -> int:
        """Id of [UNK]."""
        return self._ids[UNK]

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""
        return self.ids([CLS])[0]

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""
        return self.ids([SEP])[0]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self.ids([MASK])[0]

    def _pieces(self, word: str) -> list[str]:
        pieces = self._cache.get(word)
        if pieces is None:
            pieces = self._split(word)
            if len(self._cache) < MAX_CACHED_WORDS:
                self._cache[word] = pieces
        return pieces

    def _split(self, word: str) -> list[str]:
        if len(word) > MAX_CHARS_PER_WORD:
            return [UNK]
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = prefix + word[start:end]
                if piece in self._ids:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return [UNK]
        return pieces


_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ASCII_TOKEN = re.compile(r"[!-/:-@\[-`{-~]|[^\s!-/:-@\[-`{-~]+")
_PUNCTUATION_CACHE: dict[str, bool] = {}


def _clean(char: str) -> str:
    if char in "\t\n\r":
        return " "
    if char in "\0\ufffd":
        return ""
    category = unicodedata.category(char)
    if category in ("Cc", "Cf"):
        return ""
    return " " if category == "Zs" else char


def is_punctuation(char: str) -> bool:
    """Tells whether a character is split off: ASCII symbols and category P."""
    known = _PUNCTUATION_CACHE.get(char)
    if known is None:
        code = ord(char)
        known = (
            33 <= code <= 47
            or 58 <= code <= 64
            or 91 <= code <= 96
            or 123 <= code <= 126
            or unicodedata.category(char).startswith("P")
        )
        _PUNCTUATION_CACHE[char] = known
    return known


def _split_punctuation(word: str) -> list[str]:
    parts: list[str] = []
    inside = False
    for char in word:
        if is_punctuation(char):
            parts.append(char)
            inside = False
        elif inside:
            parts[-1] += char
        else:
            parts.append(char)
            inside = True
    return parts
