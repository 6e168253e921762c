"""BERT's tokenization as the paper's code describes it, one character at a time.

Slow and literal (google-research/bert, tokenization.py): what the tokenizers of
tfdl.text are held against where there is no golden, as for cased models.
"""

import json
import unicodedata

from tests.helpers import golden

CASES = json.loads(golden("bert", "tokenizer_cases.json").read_text())["cases"]
IDEOGRAPHS = "4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2B73F 2B740-2B81F 2B820-2CEAF"
IDEOGRAPHS += " F900-FAFF 2F800-2FA1F"
RANGES = [[int(x, 16) for x in pair.split("-")] for pair in IDEOGRAPHS.split()]
ASCII_SYMBOLS = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

LANGUAGES = [
    "Ο ΣΊΣΥΦΟΣ ΣΑΣ ΕΊΔΕ. ΣΣ Σ ᾳ ᾼ",
    "İstanbul'da IŞIK ığdır",
    "Đây là một câu tiếng Việt: Ở đâu?",
    "Съешь ещё этих мягких французских булок, ЁЖ!",
    "السَّلامُ عَلَيْكُم، كيف حالك؟",
    "שָׁלוֹם עֲלֵיכֶם",
    "नमस्ते दुनिया। क्या हाल है?",
    "สวัสดีชาวโลก ขอบคุณ",
    "안녕하세요 세계! 한국어",
    "これはテストです。カタカナ、ｶﾀｶﾅ",
    "中文文本，混合English和123。",
    "𠀀𪜀 extension B, 𬺰 extension F, 豈 compatibility",
    "naïve café e\u0301le\u0300ve Straße ﬁn",
    "family 👨\u200d👩\u200d👧 flag 🇫🇷 5€ → ½",
    "soft\u00adhyphen zero\u200bwidth \ufeffbom no\u00a0break\u3000wide\u2028line",
    "tab\tnew\nline\rreturn\x00nul\x0bvt\x1fus\x7fdel\x85nel \ufffd",
    "“quotes” ‘single’ — dash… ¿qué? ¡sí! «guillemets»",
    "private \ue000\uf8ff use",
    "don't [MASK] [CLS] a[SEP]b [mask] [MASK",
    "[MA\u200bSK] [MA\ufffdSK] [MASK\u0301] [[UNK]]",
    "x" * 200,
    "x" * 201,
    "É" * 200,
    "e\u0301" * 200,
    "中" * 300,
    "",
    "   \t ",
    "\u200b",
]


# New in Unicode 14 or 15 and with a case, or of weight for the case of a sigma beside
# them. TensorFlow's library for case (ICU) is older and does not know them.
NEW_WITH_CASE = """
888 890-891 898-89F 8C9-8D2 C3C 1734 180F 1AC1-1ACE 1DFA 2C2F 2C5F A7C0-A7C1
A7D0-A7D9 A7F2-A7F4 FBC2 10570-105BC 10780-107BA 10F82-10F85 11070 11073-11074 110C2
1AFF0-1AFFE 1CF00-1CF46 1DF00-1DF1E 1E2AE
ECE 10EFD-10EFF 1123F-11241 11F00-11F59 13439-13455 1DF25-1DF2A 1E030-1E08F 1E4D0-1E4F9
"""


def new_with_case() -> set[str]:
    """Returns the characters that only the newer of two Unicode versions knows."""
    ends = [pair.split("-") for pair in NEW_WITH_CASE.split()]
    ranges = [range(int(pair[0], 16), int(pair[-1], 16) + 1) for pair in ends]
    return {chr(code) for codes in ranges for code in codes}


def assigned() -> list[str]:
    """Returns every assigned character of this Python's Unicode version."""
    every = map(chr, range(0x110000))
    return [c for c in every if unicodedata.category(c) not in ("Cn", "Cs")]


def basic(text: str, lower: bool) -> list[str]:
    """Returns the words of a text."""
    cleaned = ""
    for char in text:
        category = unicodedata.category(char)
        if char in "\t\n\r" or category == "Zs":
            cleaned += " "
        elif char == "\ufffd" or category in ("Cc", "Cf"):
            continue
        elif any(first <= ord(char) <= last for first, last in RANGES):
            cleaned += f" {char} "
        else:
            cleaned += char
    words = []
    for word in cleaned.split():
        if lower:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(c for c in word if unicodedata.category(c) != "Mn")
        for char in word:
            if char in ASCII_SYMBOLS or unicodedata.category(char)[0] == "P":
                words.append(f" {char} ")
            else:
                words.append(char)
        words.append(" ")
    return "".join(words).split()


def wordpiece(word: str, ids: dict[str, int]) -> list[int]:
    """Returns the ids of a word's pieces, longest first."""
    if len(word) > 200:
        return [ids["[UNK]"]]
    result, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start and ("##" if start else "") + word[start:end] not in ids:
            end -= 1
        if end == start:
            return [ids["[UNK]"]]
        result.append(ids[("##" if start else "") + word[start:end]])
        start = end
    return result


def encode(text: str, vocab: list[str], lower: bool) -> list[int]:
    """Returns the ids of a text."""
    ids = {token: i for i, token in enumerate(vocab)}
    return [i for word in basic(text, lower) for i in wordpiece(word, ids)]


def pack(a: list[int], b: list[int], length: int, cls: int, sep: int):
    """Returns token and segment ids (run_classifier.convert_single_example)."""
    a, b = list(a), list(b)
    if b:
        while len(a) + len(b) > length - 3:
            (a if len(a) > len(b) else b).pop()
    else:
        a = a[: length - 2]
    tokens = [cls, *a, sep]
    segments = [0] * len(tokens)
    if b:
        tokens += [*b, sep]
        segments += [1] * (len(b) + 1)
    return tokens, segments
