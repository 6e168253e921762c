"""BERT's tokenizer in Python (google-research/bert, tokenization.py)."""

import re
import unicodedata
from collections.abc import Callable, Sequence

from tfdl.engine import errors
from tfdl.text.vocab import CLS, MASK, PAD, SEP, SPECIALS, UNK

MAX_CHARS_PER_WORD = 200
MAX_CACHED_WORDS = 500_000

CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# How `decode` writes text, in the syntax that Python's re and RE2 share.
DECODE_RULES = (
    (r" ' (s|t|re|ve|ll|d|m)( |$)", r"'\1\2"),
    (r" ([.,!?;:)\]}%])", r"\1"),
    (r"([(\[{]) ", r"\1"),
)
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ASCII_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^\s!-/:-@\[-`{-~]+")


def is_cjk(char: str) -> bool:
    """Tells whether a character is an ideograph, a word of its own."""
    return any(first <= ord(char) <= last for first, last in CJK)


def is_punctuation(char: str) -> bool:
    """Tells whether a character is split off: ASCII symbols and category P."""
    code = ord(char)
    return (
        33 <= code <= 47
        or 58 <= code <= 64
        or 91 <= code <= 96
        or 123 <= code <= 126
        or unicodedata.category(char).startswith("P")
    )


def _clean(char: str) -> str:
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if char == "\ufffd" or category in ("Cc", "Cf"):
        return ""
    if category == "Zs":
        return " "
    return f" {char} " if is_cjk(char) else char


def _separate(char: str) -> str:
    return f" {char} " if is_punctuation(char) else char


def _strip_accent(char: str) -> str:
    return "" if unicodedata.category(char) == "Mn" else char


class _Table(dict):
    """A table for `str.translate`, filled as characters are met."""

    def __init__(self, rule: Callable[[str], str]):
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = replacement = self._rule(chr(code))
        return replacement


_CLEAN, _ACCENTS, _PUNCTUATION = map(_Table, (_clean, _strip_accent, _separate))


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
        text = text.translate(_CLEAN)
        if self.do_lower_case:
            # The original does this word by word. White space separates words for
            # Unicode too (final sigma, order of accents): the result is the same.
            text = unicodedata.normalize("NFD", text.lower()).translate(_ACCENTS)
        return text.translate(_PUNCTUATION).split()

    def _ascii(self, text: str) -> list[str]:
        text = _ASCII_CONTROL.sub("", text)
        if self.do_lower_case:
            text = text.lower()
        return _ASCII_WORD.findall(text)


class BertTokenizer:
    """Basic tokenization, then greedy longest-match-first WordPiece.

    Args:
        vocab: tokens in the order of their ids; of duplicates the last counts.
        do_lower_case: True for uncased models.
        split_special_tokens: whether "[MASK]" in a text is split like any other
            text, as in the original; False keeps whole those of the five special
            tokens that the vocabulary has.

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
        self._specials = {token for token in SPECIALS if token in self._ids}
        pattern = "|".join(re.escape(token) for token in SPECIALS if token in self._ids)
        self._special = re.compile(f"({pattern})")

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
        for part in self._special.split(text):
            if part in self._specials:
                tokens.append(part)
            else:
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
        """Returns readable text: pieces joined, punctuation moved to its word.

        Args:
            ids: token ids; one outside of the vocabulary reads as [UNK].
            skip_special_tokens: leave out [PAD], [CLS] and [SEP].
        """
        tokens = [self.vocab[i] if 0 <= i < len(self.vocab) else UNK for i in ids]
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in (PAD, CLS, SEP)]
        text = " ".join(tokens).replace(" ##", "")
        for pattern, replacement in DECODE_RULES:
            text = re.sub(pattern, replacement, text)
        return text

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
        if len(word) > MAX_CHARS_PER_WORD:
            return [UNK]
        pieces = self._cache.get(word)
        if pieces is None:
            pieces = self._split(word)
            if len(self._cache) < MAX_CACHED_WORDS:
                self._cache[word] = pieces
        return pieces

    def _split(self, word: str) -> list[str]:
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
