"""Packing tokens into BERT's input (run_classifier.py, convert_single_example)."""

from tfdl.text.wordpiece import BertTokenizer

# More characters than this per wanted token are never needed: a token has at most
# 200 characters, so that reading a 10 MB line stops early.
CHARS_PER_TOKEN = 256


def truncate_pair(a: list[int], b: list[int], room: int) -> None:
    """Pops from the end of the longer, of b on ties, until both fit."""
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()


def pack(a: list[int], b: list[int] | None, tokenizer: BertTokenizer, length: int):
    """Returns unpadded `token_ids` and `segment_ids` of one or two texts.

    Args:
        a: ids of the first text.
        b: ids of the second; None or empty makes a single sequence.
        tokenizer: for [CLS] and [SEP].
        length: max_seq_length.
    """
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


def convert(text_a: str, text_b: str | None, tokenizer: BertTokenizer, length: int):
    """Returns unpadded features of a text or a pair of texts.

    An empty second text, or one without tokens, makes a single sequence.
    """
    a = tokenizer.encode(_cut(text_a, length))
    b = tokenizer.encode(_cut(text_b, length)) if text_b else None
    return pack(a, b, tokenizer, length)


def _cut(text: str, length: int) -> str:
    most = CHARS_PER_TOKEN * length
    if len(text) <= most:
        return text
    # Cut at white space, so that no word is halved; the rest cannot matter unless
    # most of the text is white space or control characters.
    head = text[:most]
    words = head.rsplit(None, 1)
    return words[0] if len(words) == 2 and len(words[0].split()) >= length else text
