"""fast.ai's text preparation: against its own outputs, and the graph against Python."""

import collections
import json
import random

import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.data import topics
from tfdl.engine.errors import UserError
from tfdl.text import base_tokenizers, fastai_rules, fastai_vocab
from tfdl.text.fastai_graph import GraphTokenizer
from tfdl.text.fastai_vocab import TextTokenizer, Vocabulary

NAMES = {
    "fix_html": fastai_rules.fix_html,
    "replace_rep": fastai_rules.replace_repeated,
    "replace_wrep": fastai_rules.replace_repeated_words,
    "spec_add_spaces": fastai_rules.add_spaces,
    "rm_useless_spaces": fastai_rules.remove_spaces,
    "replace_all_caps": fastai_rules.mark_capitals,
    "replace_maj": fastai_rules.mark_capitalised,
    "lowercase": fastai_rules.begin,
}
PIECES = (
    "no,no ,the,a,a ,a  ,-, -,NASA,It,O'NEILL,\n,\u00e9T\u00c9,&amp;,&eacute;,&notit;,"
    "&#233;,&#x1F600;,&#128;,&#1;,&#99999999;,!!!!,xx, ,  ,Don't,'tis,\u01c5,\u3000,"
    "\\n,...,5.00,..,it's,A,<br />,\u0130"
).split(",")


@pytest.fixture(scope="module")
def cases():
    return json.loads(golden("ulmfit", "tokenization.json").read_text())


def texts(cases):
    """Returns the goldens' texts, mixtures of what the rules look for, and prose."""
    draw = random.Random(0)
    result = [case["text"] for case in cases["cases"]]
    for _ in range(300):
        chosen = draw.sample(PIECES, draw.choice([2, 3, 5, len(PIECES)]))
        joined = (draw.choice(chosen) for _ in range(draw.randint(0, 14)))
        result.append(draw.choice([" ", ""]).join(joined))
    prose = [p for text in topics.raw().values() for p in text.split("\n\n")]
    return result + prose[::7]


@pytest.mark.parametrize("version", (1, 2))
def test_every_rule_equals_the_original(cases, version):
    for case in cases["cases"]:
        text = case["text"]
        for name, expected in case[f"v{version}_rules"].items():
            text = NAMES[name](text, f"fastai{version}")
            assert text == expected, (name, case["text"])
        tokens = TextTokenizer(f"fastai{version}", "whitespace").tokens(case["text"])
        assert tokens == case[f"v{version}_space_tokens"]


def test_the_scripts_of_the_paper(cases):
    for case in cases["cases"]:
        text = fastai_rules.join_fields([case["text"]], "fastai07")
        first = fastai_rules.PREFIX["fastai07"] + text
        assert fastai_rules.fix_html(first, "fastai07") == case["v07_fixup"]
        assert fastai_rules.prepared(text, "fastai07") == case["v07_before_spacy"]


def test_fields_are_marked():
    assert fastai_rules.join_fields(["a", "b"], "fastai2") == "xxfld 1 a xxfld 2 b"
    assert fastai_rules.join_fields(["a"], "fastai1") == "a"
    tokens = TextTokenizer("fastai07", "regex").tokens(["a", "b"])
    assert tokens == ["\n", "xbos", "xfld", "1", "a", "xfld", "2", "b"]


@pytest.mark.parametrize("rules", fastai_rules.GENERATIONS)
@pytest.mark.parametrize("base", ("whitespace", "regex"))
def test_the_graph_gives_the_same_tokens(cases, rules, base):
    given = texts(cases)
    expected = [TextTokenizer(rules, base).tokens(text) for text in given]
    itos = ["xxunk", "xxpad", *sorted({t for row in expected for t in row})[::2]]
    graph = GraphTokenizer(itos, rules, base)

    @tf.function
    def both(batch):
        return graph.tokens(batch), graph.tokenize(batch)

    tokens, ids = both(tf.constant(given))
    assert ids.dtype == tf.int32
    vocabulary = Vocabulary(itos)
    for text, mine, row, numbers in zip(
        given, expected, tokens.to_list(), ids.to_list(), strict=True
    ):
        assert [token.decode() for token in row] == mine, text
        assert numbers == vocabulary.encode(mine)


def test_damaged_and_empty_batches():
    graph = GraphTokenizer(["xxunk", "xxpad", "xxbos"])
    damaged = graph.tokens(tf.constant([b"ok \xff\xfe ok"])).to_list()
    assert damaged == [[b"xxbos", b"ok", *["\ufffd".encode()] * 2, b"ok"]]
    assert graph.tokenize(tf.constant([], tf.string)).shape[0] == 0


def test_text_that_is_tokenized_already():
    python = TextTokenizer("words")
    graph = GraphTokenizer(["<unk>", "<pad>"], "words")
    for text in ("a <unk> b", "a  b\nc\u3000d\n", ""):
        tokens = python.tokens(text)
        found = graph.tokens(tf.constant([text])).to_list()[0]
        assert [token.decode() for token in found] == tokens
    assert python.tokens("a\nb") == ["a", "<eos>", "b", "<eos>"]
    assert fastai_vocab.build({"b": 1, "<unk>": 5}, "words") == ["<unk>", "<pad>", "b"]


def test_contractions_and_quotation_marks():
    split = base_tokenizers.create("regex", "fastai2")
    assert split("don't it's 'small' o'clock 5.00, a--b") == [
        *("do", "n't", "it", "'s", "'", "small", "'", "o", "'", "clock"),
        *("5.00", ",", "a", "--", "b"),
    ]


def test_special_tokens_are_undone(cases):
    for pair in cases["decode_spec_tokens"]:
        decoded = fastai_rules.decode_spec_tokens(pair["tokens"])
        assert decoded == pair["decoded"]
    tokens = TextTokenizer("fastai2", "regex").tokens("Sooooo GOOD, no no no (really)!")
    assert fastai_rules.readable(["xxup", "xxmaj", "a", "xxup"]) == "A"
    assert fastai_rules.readable(tokens) == "s ooooo GOOD, no no no (really)!"


def test_vocabularies_are_built_as_each_generation_does():
    counts = collections.Counter({f"w{i}": 30 - i for i in range(25)})
    counts["xxmaj"] = 99
    one = fastai_vocab.build(counts, "fastai1", 60, 20)
    assert one[5:10] == ["xxmaj", "xxup", "xxrep", "xxwrep", "w0"]
    assert len(one) == 24 and one[-4:] == ["xxfake"] * 4
    full = fastai_vocab.build(counts, "fastai1", 13)
    assert full == one[:13] and "xxfake" not in full
    two = fastai_vocab.build(counts, "fastai2", 16, 1)
    assert two[5:9] == ["xxrep", "xxwrep", "xxup", "xxmaj"]
    assert len(two) == 24 and two[16:] == ["xxfake"] * 8
    assert fastai_vocab.build(counts, "fastai07", 3) == ["_unk_", "_pad_"] + [
        "xxmaj",
        "w0",
        "w1",
    ]
    vocabulary = Vocabulary(two)
    assert vocabulary.encode(["xxfake", "w0", "never"]) == [0, 9, 0]
    assert (vocabulary.unk_id, vocabulary.pad_id, vocabulary.bos_id) == (0, 1, 2)


def test_vocabulary_files(tmp_path):
    path = tmp_path / "vocab.json"
    words = ["xxunk", "\n", 'a"\u00e9']
    path.write_text(fastai_vocab.dump(words))
    assert fastai_vocab.load(path) == words
    for damaged, message in (("[1]", "a list of strings"), ("[", "vocab.json:1")):
        path.write_text(damaged)
        with pytest.raises(UserError, match=message):
            fastai_vocab.load(path)


def test_sentencepiece_in_the_graph():
    special = fastai_rules.special_tokens("fastai2")
    prose = [p for text in topics.raw().values() for p in topics.paragraphs(text)]
    prepared = [fastai_rules.prepared(text, "fastai2") for text in prose[:400]]
    model = base_tokenizers.learn_sentencepiece(prepared, 400, special)
    python = TextTokenizer("fastai2", "sentencepiece", model=model)
    graph = GraphTokenizer(["xxunk"], "fastai2", "sentencepiece", model)
    expected = [python.tokens(text) for text in prose[:50]]
    assert expected[0][0] == "\u2581xxbos"
    found = graph.tokens(tf.constant(prose[:50])).to_list()
    assert [[token.decode() for token in row] for row in found] == expected
    with pytest.raises(UserError, match="not a SentencePiece model"):
        TextTokenizer("fastai2", "sentencepiece", model=b"nonsense")


def test_what_does_not_go_is_said():
    with pytest.raises(UserError, match="does not run in a graph"):
        GraphTokenizer(["a"], "fastai2", "spacy")
    with pytest.raises(UserError, match="did you mean 'fastai2'"):
        TextTokenizer("fastai3")
    with pytest.raises(UserError, match="did you mean 'regex'"):
        TextTokenizer("fastai2", "regx")
