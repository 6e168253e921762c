"""Packing tokens into BERT's input (run_classifier.py, convert_single_example)."""

import re

from tfdl.engine import errors
from tfdl.text.wordpiece import BertTokenizer

# Where a text may be cut without changing its tokens: after white space, an ideograph,
# or punctuation that stays a token of its own. The marks . : ' and the like are not
# among them, because the lower case of a Greek sigma looks past those.
_CUT = re.compile(
    "[\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    "\u3400-\u4dbf\u4e00-\u9fff" + re.escape('!"(),-;?。、！？，；…') + "]"
)
# How much is tokenized at a time, in characters per wanted token.
_CHARS_PER_TOKEN = 8


def first_ids(text: str, tokenizer: BertTokenizer, most: int) -> list[int]:
    """Returns the first ids of a text, as `tokenizer.encode(text)[:most]`.

    Stops reading when it has enough, so that a text of megabytes costs what its
    beginning costs.
    """
    ids: list[int] = []
    start = 0
    while start < len(text) and len(ids) < most:
        cut = _CUT.search(text, start + _CHARS_PER_TOKEN * most)
        end = cut.end() if cut else len(text)
        ids += tokenizer.encode(text[start:end])
        start = end
    return ids[:most]


def truncate_pair(a: list[int], b: list[int], room: int) -> None:
    """Pops from the end of the longer, of b on ties, until both fit."""
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()


def pack(
    a: list[int], b: list[int] | None, tokenizer: BertTokenizer, length: int
) -> dict[str, list[int]]:
    """Returns unpadded `token_ids` and `segment_ids` of one or two texts.

    Args:
        a: ids of the first text.
        b: ids of the second; None or empty makes a single sequence.
        tokenizer: for [CLS] and [SEP].
        length: max_seq_length.

    Raises:
        UserError: `length` has no room for the special tokens.
    """
    if length < 3:
        raise errors.UserError(f"max_seq_length {length} is too short, 3 is the least")
    a, b = list(a), list(b or ())
    if b:
        truncate_pair(a, b, length - 3)
    else:
        a = a[: length - 2]
    token_ids = [tokenizer.cls_id, *a, tokenizer.sep_id]
    segment_ids = [0] * len(token_ids)
    if b:
        token_ids += [*b, tokenizer.sep_id]
        segment_ids += [1] * (len(b) + 1)
    return {"token_ids": token_ids, "segment_ids": segment_ids}


def convert(
    text_a: str, text_b: str | None, tokenizer: BertTokenizer, length: int
) -> dict[str, list[int]]:
    """Returns unpadded features of a text or a pair of texts.

    An empty second text, or one without tokens, makes a single sequence. Tokens past
    max_seq_length never matter: the longer text is shortened first, so that what
    remains depends on the first `length` ids of each.
    """
    a = first_ids(text_a, tokenizer, length)
    b = first_ids(text_b, tokenizer, length) if text_b else None
    return pack(a, b, tokenizer, length)
