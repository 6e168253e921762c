"""WordPiece vocabularies: reading, checking and training them."""

import collections
from collections.abc import Iterable, Sequence

from tfdl.engine import errors, files

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIALS = (PAD, UNK, CLS, SEP, MASK)
MAX_BYTES = 256 << 20


def load_vocab(path: files.PathLike) -> list[str]:
    """Reads a `vocab.txt`: one token per line, ids are line numbers.

    Lines are stripped, as in the original.

    Raises:
        UserError: the file is missing, empty or not UTF-8, or lacks [UNK].
    """
    tokens = [line.strip() for line in files.read_text(path, MAX_BYTES).split("\n")]
    while tokens and not tokens[-1]:
        tokens.pop()
    if UNK not in tokens:
        raise errors.UserError(f"{path} is not a WordPiece vocabulary: it lacks {UNK}")
    return tokens


def check_vocab(tokens: Sequence[str], rows: int | None = None) -> list[str]:
    """Returns what is wrong or doubtful about a vocabulary, in words.

    Args:
        tokens: the tokens in the order of their ids.
        rows: rows of the word embedding it goes with, if known.
    """
    problems = [f"lacks {special}" for special in SPECIALS if special not in tokens]
    counts = collections.Counter(tokens)
    twice = [token for token, count in counts.items() if count > 1 and token]
    if twice:
        problems.append(f"{len(twice)} tokens appear twice, e.g. {twice[0]!r}")
    if counts.get(""):
        problems.append(f"{counts['']} blank lines, e.g. line {tokens.index('') + 1}")
    spaced = [token for token in tokens if token.split() not in ([token], [])]
    if spaced:
        problems.append(f"{len(spaced)} tokens contain spaces, e.g. {spaced[0]!r}")
    letters = {token for token in tokens if len(token) == 1}
    inside = {token[2:] for token in tokens if len(token) == 3 and token[:2] == "##"}
    used = {char for token in tokens if token not in SPECIALS for char in token}
    lone = sorted(char for char in used - letters - inside if char.isalnum())
    if lone:
        problems.append(
            f"{len(lone)} characters are no token of their own, e.g. {lone[0]!r}: "
            "words with them may become [UNK]"
        )
    if rows is not None and len(tokens) != rows:
        problems.append(f"has {len(tokens)} tokens, the embedding has {rows} rows")
    return problems


def infer_casing(name: str) -> bool | None:
    """Returns do_lower_case of a published checkpoint's name, None if unknown.

    Casing is stored in no original checkpoint (google-research/bert,
    tokenization.validate_case_matches_checkpoint).
    """
    name = name.lower()
    if "uncased" in name:
        return True
    if "multi_cased" in name or "cased" in name:
        return False
    if "multilingual_l-12" in name or "chinese_l-12" in name:
        return True
    return None


def train_wordpiece(
    texts: Iterable[str], vocab_size: int, do_lower_case: bool = True
) -> list[str]:
    """Learns a WordPiece vocabulary.

    Starts from characters and joins, again and again, the pair of neighbouring
    pieces with the highest `count(ab) / (count(a) * count(b))` among the frequent
    ones (Schuster & Nakajima 2012), until the size is reached. Deterministic.

    Args:
        texts: the corpus.
        vocab_size: how many tokens at most, the special ones included.
        do_lower_case: whether text is lowercased and stripped of accents.

    Returns:
        The tokens: specials first, then characters, then longer pieces.
    """
    from tfdl.text.wordpiece import BasicTokenizer

    basic = BasicTokenizer(do_lower_case)
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(basic.tokenize(text))
    if not counts:
        raise errors.UserError("no words to learn a vocabulary from")
    words = {word: count for word, count in counts.items() if len(word) <= 100}
    alphabet = collections.Counter()
    for word, count in words.items():
        alphabet.update({char: count for char in set(_pieces(word))})
    room = vocab_size - len(SPECIALS)
    kept = [piece for piece, _ in _ranked(alphabet)][: max(room // 2, 1)]
    tokens = list(SPECIALS) + sorted(kept)
    merges = _Merges(words, set(kept))
    while len(tokens) < vocab_size:
        piece = merges.join_best()
        if piece is None:
            break
        if piece not in merges.known:
            merges.known.add(piece)
            tokens.append(piece)
    return tokens


class _Merges:
    """Words as pieces, and the pairs of neighbours in them."""

    def __init__(self, words: dict[str, int], alphabet: set[str]):
        self.known = set(alphabet)
        self._words, self._counts = [], []
        for word, count in words.items():
            pieces = _pieces(word)
            if all(piece in alphabet for piece in pieces):
                self._words.append(pieces)
                self._counts.append(count)
        self._pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        self._where: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
        self._singles: collections.Counter[str] = collections.Counter()
        for i in range(len(self._words)):
            self._count(i, +1)

    def join_best(self) -> str | None:
        """Joins the best pair everywhere; returns the new piece."""
        frequent = [pair for pair, count in self._pairs.items() if count > 1]
        if not frequent:
            return None
        # The likelihood ratio alone would pick the rarest pairs first; weighing it
        # with the count (the gain in log-likelihood) finds the useful ones.
        best = max(frequent, key=lambda pair: (self._gain(pair), pair))
        joined = best[0] + best[1].removeprefix("##")
        for i in list(self._where[best]):
            self._count(i, -1)
            self._words[i] = _join(self._words[i], best, joined)
            self._count(i, +1)
        return joined

    def _gain(self, pair: tuple[str, str]) -> float:
        count = self._pairs[pair]
        both = self._singles[pair[0]] * self._singles[pair[1]]
        return count * (count / both) ** 0.5

    def _count(self, i: int, sign: int) -> None:
        pieces, count = self._words[i], self._counts[i] * sign
        for piece in pieces:
            self._singles[piece] += count
        for pair in zip(pieces, pieces[1:], strict=False):
            self._pairs[pair] += count
            if sign > 0:
                self._where[pair].add(i)
            else:
                self._where[pair].discard(i)
                if not self._pairs[pair]:
                    del self._pairs[pair]


def _pieces(word: str) -> list[str]:
    return [word[0], *(f"##{char}" for char in word[1:])]


def _join(pieces: list[str], pair: tuple[str, str], joined: str) -> list[str]:
    result, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            result.append(joined)
            i += 2
        else:
            result.append(pieces[i])
            i += 1
    return result


def _ranked(counts: collections.Counter) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
