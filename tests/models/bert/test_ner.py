"""CoNLL-2003's columns as windows, and predictions back to words."""

import random

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.metrics import spans
from tfdl.models.bert import ner
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

TOKENIZER = BertTokenizer(load_vocab(golden("bert", "tf1", "vocab.txt")))
CONLL = """-DOCSTART- -X- -X- O

John NNP I-NP B-PER
Smith NNP I-NP I-PER
was VBD I-VP O

Rouen NNP I-NP B-LOC

-DOCSTART- -X- -X- O

the\tDT\tI-NP\tO
town  NN I-NP O\x20\x20
"""
LABELS = ["O", "B-LOC", "B-PER", "I-PER"]


def write(tmp_path, text, name="train.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_read_sentences(tmp_path):
    path = write(tmp_path, CONLL)
    found = ner.read_sentences(path)
    assert found == [
        (("John", "Smith", "was"), ("B-PER", "I-PER", "O"), 1, f"{path}:3"),
        (("Rouen",), ("B-LOC",), 1, f"{path}:7"),
        (("the", "town"), ("O", "O"), 2, f"{path}:11"),
    ]
    assert ner.find_labels(found) == LABELS
    windows_file = write(tmp_path, CONLL.replace("\n", "\r\n"), "crlf.txt")
    for row, same in zip(found, ner.read_sentences(windows_file), strict=True):
        assert row[:3] == same[:3]
    untagged = ner.read_sentences(path, need_tags=False)
    assert [row.words for row in untagged] == [row.words for row in found]
    assert {row.tags for row in untagged} == {()}


def test_without_document_lines_every_sentence_is_a_document(tmp_path):
    found = ner.read_sentences(write(tmp_path, "a O\n\n\nb O\nc O"))
    assert [(row.words, row.document) for row in found] == [
        (("a",), 0),
        (("b", "c"), 1),
    ]
    words = ner.read_sentences(write(tmp_path, "a\nb\n\nc\n"), need_tags=False)
    assert [row.words for row in words] == [("a", "b"), ("c",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a O\nb\n", r"train\.txt:2: a word and a tag are needed, got 'b'"),
        ("a X O\nb O\n", r"train\.txt:2: 2 columns, the lines before have 3"),
        ("a O\n\nb PER\n", r"train\.txt:3: tag 'PER' is neither 'O' nor one of"),
        ("\n \n", r"train\.txt has no words"),
        ("-DOCSTART- O\n", r"train\.txt has no words"),
        ("", "is empty"),
    ],
)
def test_broken_files_are_named_by_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        ner.read_sentences(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_first_tokens_are_labelled(tmp_path):
    sentences = ner.read_sentences(write(tmp_path, CONLL))
    first, second, third = ner.make_windows(sentences, TOKENIZER, 32, LABELS)
    pieces = [TOKENIZER.encode(word) for word in ("John", "Smith", "was")]
    assert len(pieces[1]) > 1
    ids = [TOKENIZER.cls_id, *(i for p in pieces for i in p), TOKENIZER.sep_id]
    assert first.features["token_ids"].tolist() == ids
    assert set(first.features["segment_ids"]) == {0}
    assert first.position.tolist() == [1, 2, 2 + len(pieces[1])]
    assert first.features["label_ids"][first.position].tolist() == [2, 3, 0]
    weights = first.features["label_weights"]
    assert np.flatnonzero(weights).tolist() == first.position.tolist()
    assert set(weights) == {0, 1}
    assert {len(column) for column in first.features.values()} == {len(ids)}
    assert (second.sentence.tolist(), third.word.tolist()) == ([1], [0, 1])


def test_document_context_reads_sentences_together(tmp_path):
    sentences = ner.read_sentences(write(tmp_path, CONLL))
    first, second = ner.make_windows(
        sentences, TOKENIZER, 64, LABELS, document_context=True
    )
    assert first.sentence.tolist() == [0, 0, 0, 1]
    assert first.word.tolist() == [0, 1, 2, 0]
    assert first.features["label_ids"][first.position].tolist() == [2, 3, 0, 1]
    assert second.sentence.tolist() == [2, 2]


WORDS = "a John Smith's leader electronics 1895 \u200b \u0001 café 漢字 x".split(" ")


def sentences_of(draw):
    found = []
    for document in range(draw.randint(1, 3)):
        for _ in range(draw.randint(1, 4)):
            words = draw.choices([*WORDS, "z" * 60], k=draw.randint(1, 70))
            tags = draw.choices(LABELS, k=len(words))
            found.append(ner.Sentence(words, tags, document))
    return found


@pytest.mark.parametrize("document_context", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_no_word_is_lost(seed, document_context):
    draw = random.Random(seed)
    sentences = sentences_of(draw)
    length = draw.choice([3, 4, 8, 17, 40, 300])
    found = list(
        ner.make_windows(sentences, TOKENIZER, length, LABELS, document_context)
    )
    places = [
        (int(i), int(j))
        for window in found
        for i, j in zip(window.sentence, window.word, strict=True)
    ]
    every = [(i, j) for i, row in enumerate(sentences) for j in range(len(row.words))]
    assert sorted(places) == every
    for window in found:
        ids = window.features["token_ids"]
        assert 3 <= len(ids) <= length
        assert ids[0] == TOKENIZER.cls_id and ids[-1] == TOKENIZER.sep_id
        assert window.features["label_weights"].sum() == len(window.word) > 0
        for i, j, position in zip(
            window.sentence, window.word, window.position, strict=True
        ):
            pieces = TOKENIZER.encode(sentences[i].words[j]) or [TOKENIZER.unk_id]
            pieces = pieces[: length - 2]
            assert ids[position : position + len(pieces)].tolist() == pieces
            label = window.features["label_ids"][position]
            assert LABELS[label] == sentences[i].tags[j]
    # The labels, with padding behind them, come back as the tags.
    guesses = [np.pad(window.features["label_ids"], (0, 5)) for window in found]
    tags = ner.tag_words(sentences, found, guesses, LABELS)
    assert tags == [list(row.tags) for row in sentences]


def test_words_are_labelled_where_they_have_context():
    """100 words of one token in windows of 20, ten apart."""
    sentence = ner.Sentence(["the"] * 100)
    found = list(ner.make_windows([sentence], TOKENIZER, 22))
    assert {len(window.features["token_ids"]) for window in found} == {22}
    assert set(found[0].features) == {"token_ids", "segment_ids"}
    assert len(found) == 9
    for window in found:
        for word, position in zip(window.word, window.position, strict=True):
            before, after = position - 1, 20 - position
            assert before >= min(5, word)
            assert after >= min(5, 99 - word)


def test_unknown_tags_and_lengths(tmp_path):
    path = write(tmp_path, "a O\nb B-LOK\n")
    sentences = ner.read_sentences(path)
    with pytest.raises(
        UserError, match="unknown tag 'B-LOK'; did you mean 'B-LOC'"
    ) as e:
        ner.make_windows(sentences, TOKENIZER, 32, LABELS)
    assert str(e.value).startswith(f"{path}:2: ")
    with pytest.raises(UserError, match="max_seq_length 2 has no room"):
        ner.make_windows(sentences, TOKENIZER, 2)


def test_missing_windows_are_an_error(tmp_path):
    sentences = ner.read_sentences(write(tmp_path, CONLL))
    found = list(ner.make_windows(sentences, TOKENIZER, 32, LABELS))[:-1]
    guesses = [window.features["label_ids"] for window in found]
    with pytest.raises(ValueError, match="'the' is in none of the windows"):
        ner.tag_words(sentences, found, guesses, LABELS)


def test_written_predictions_are_read_again(tmp_path):
    sentences = ner.read_sentences(write(tmp_path, CONLL))
    predicted = [["B-PER", "O", "O"], ["B-LOC"], ["O", "B-PER"]]
    path = tmp_path / "out" / "predictions.txt"
    ner.write_predictions(path, sentences, predicted)
    assert path.read_text() == (
        "John B-PER B-PER\nSmith I-PER O\nwas O O\n\nRouen B-LOC B-LOC\n\n"
        "the O O\ntown O B-PER\n\n"
    )
    again = ner.read_sentences(path)
    assert [list(row.tags) for row in again] == predicted
    gold = [row.tags for row in sentences]
    assert spans.evaluate(gold, predicted).total == (2, 3, 1)
    untagged = [row._replace(tags=()) for row in sentences]
    ner.write_predictions(path, untagged, predicted)
    assert path.read_text().startswith("John B-PER\nSmith O\n")
