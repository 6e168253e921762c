"""WordPiece vocabularies: reading, checking and training them."""

import collections
import math
import os
import pathlib
import re
from collections.abc import Iterable, Sequence

from tfdl.engine import errors, files

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIALS = (PAD, UNK, CLS, SEP, MASK)
MAX_BYTES = 256 << 20
# Of the training corpus: longer and rarer words are left out.
MAX_CHARS_PER_TOKEN = 50
MAX_WORDS = 5_000_000


def load_vocab(path: files.PathLike) -> list[str]:
    """Reads a `vocab.txt`: one token per line, ids are line numbers.

    Lines are stripped, as in the original (tokenization.load_vocab).

    Raises:
        UserError: the file is missing, empty, too large or not UTF-8, or it lacks
            [UNK].
    """
    tokens = _read_lines(path)
    if UNK not in tokens:
        raise errors.UserError(f"{path} is not a WordPiece vocabulary: it lacks {UNK}")
    return tokens


def _read_lines(path: files.PathLike) -> list[str]:
    lines = [line.strip() for line in files.read_text(path, MAX_BYTES).split("\n")]
    # What follows the last line's end is no line.
    return lines if lines[-1] else lines[:-1]


def check_vocab(
    vocab: files.PathLike | Sequence[str], rows: int | None = None
) -> list[str]:
    """Returns what is wrong or doubtful about a vocabulary, in words.

    Args:
        vocab: a vocabulary file, or the tokens in the order of their ids.
        rows: rows of the word embedding it goes with, if known.

    Raises:
        UserError: the file is missing, empty, too large or not UTF-8.
    """
    tokens = _read_lines(vocab) if isinstance(vocab, str | os.PathLike) else vocab
    problems = [f"lacks {special}" for special in SPECIALS if special not in tokens]
    if PAD in tokens and tokens[0] != PAD:
        problems.append(f"{PAD} has id {tokens.index(PAD)}, padding is written as 0")
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
    # Special tokens and [unused0], [unused1] ... are never spelled.
    spelled = (token for token in tokens if not re.fullmatch(r"\[\w+\]", token))
    used = {char for token in spelled for char in token}
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
    parts = pathlib.PurePath(name.lower()).parts
    # Of ".../uncased_L-12_H-768_A-12/bert_model.ckpt" the folder tells.
    for part in reversed(parts):
        if re.search(r"(?<![a-z])uncased(?![a-z])", part):
            return True
        if re.search(r"(?<![a-z])cased(?![a-z])", part):
            return False
        if re.search(r"(multilingual|chinese)_l-12", part):
            return True
    return None


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int,
    do_lower_case: bool = True,
    unused: int = 0,
) -> list[str]:
    """Learns a WordPiece vocabulary by tensorflow-text's top-down algorithm.

    All substrings of the words are counted; those over a threshold stay, each taking
    its count from its own prefixes, and the words are split anew with what stayed,
    four times. The threshold is searched that gives the wanted size. The result is
    the same for the same words, whatever their order.

    Args:
        texts: the corpus.
        vocab_size: how many tokens at most, the special ones included. A small
            corpus may give fewer.
        do_lower_case: whether text is lowercased and stripped of accents.
        unused: how many entries [unused0], [unused1] ... to reserve after [PAD].

    Returns:
        The tokens: [PAD], reserved ones, the other special tokens, characters by
        code point, then the rest, frequent ones first.

    Raises:
        UserError: there are no words, or the size leaves no room for characters.
    """
    from tfdl.text.wordpiece import BasicTokenizer

    reserved = [PAD, *(f"[unused{i}]" for i in range(unused)), *SPECIALS[1:]]
    # Every character may need two entries; a third of the room stays for more.
    characters = (vocab_size - len(reserved)) // 3
    if characters < 1:
        raise errors.UserError(
            f"a vocabulary of {vocab_size} is too small: {len(reserved)} special "
            "tokens and some characters have to fit"
        )
    basic = BasicTokenizer(do_lower_case)
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(basic.tokenize(text))
    if not counts:
        raise errors.UserError("no words to learn a vocabulary from")
    return _learn(sorted(counts.items()), vocab_size, reserved, characters)


def _learn(
    counts: list[tuple[str, int]], size: int, reserved: list[str], characters: int
) -> list[str]:
    from tensorflow_text.tools.wordpiece_vocab import (
        wordpiece_tokenizer_learner_lib as learner,
    )

    # `learner.learn` itself may end far from the size, on either side of it.
    words = learner.get_input_words(counts, reserved, MAX_CHARS_PER_TOKEN)
    allowed = learner.get_allowed_chars(words, characters)
    words = learner.filter_input_words(words, allowed, MAX_WORDS)
    if not words:
        raise errors.UserError("no words to learn a vocabulary from")
    parameters = learner.Params(
        upper_thresh=None,
        lower_thresh=None,
        num_iterations=4,
        max_input_tokens=MAX_WORDS,
        max_token_length=MAX_CHARS_PER_TOKEN,
        max_unique_chars=characters,
        vocab_size=size,
        slack_ratio=0,
        include_joiner_token=True,
        joiner="##",
        reserved_tokens=reserved,
    )
    low, high = 1, max(count for _, count in words)
    best: list[str] = []
    while low <= high:
        # Sizes fall about as a power of the threshold: halve its logarithm.
        threshold = math.isqrt(low * high)
        learned = learner.learn_with_thresh(words, threshold, parameters)
        tokens = [token for token in learned if _can_occur(token)]
        if len(tokens) >= size:
            best, low = tokens, threshold + 1
            if len(tokens) <= 1.1 * size:
                break
        else:
            # A vocabulary under the size counts until one over it is found.
            best = best if len(best) >= len(tokens) else tokens
            high = threshold - 1
    return _cut(best, size, set(reserved))


def _can_occur(token: str) -> bool:
    """Tells whether text can give a piece: punctuation stands alone, as a word."""
    from tfdl.text.wordpiece import is_cjk, is_punctuation

    inside = token.startswith("##") and len(token) == 3
    return not (inside and (is_punctuation(token[2]) or is_cjk(token[2])))


def _cut(tokens: list[str], size: int, reserved: set[str]) -> list[str]:
    """Drops the rarest pieces of two or more characters until the size is met."""
    excess = max(len(tokens) - size, 0)
    kept = []
    for token in reversed(tokens):
        single = len(token.removeprefix("##")) == 1
        if excess and not single and token not in reserved:
            excess -= 1
        else:
            kept.append(token)
    return kept[::-1]
