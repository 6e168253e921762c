"""The formats of the paper's data sets, on miniatures of them, and mistakes in them."""

import pytest

from tfdl.data import text_corpora
from tfdl.data.docstrings import documents
from tfdl.engine.errors import UserError


def write(folder, **contents):
    """Writes files; __ in a name stands for /, _DOT_ for a dot."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)
    return folder


def texts(rows):
    return [(row.label, row.fields) for row in rows]


def test_csv_with_names_of_classes(tmp_path):
    write(
        tmp_path,
        train_DOT_csv='"2","A ""title""","Two\nlines"\n"1","B",""\n',
        test_DOT_csv='"1","C","d"\n',
        classes_DOT_txt="World\nSports\n",
    )
    corpus = text_corpora.read(f"ag:{tmp_path}")
    assert corpus.labels == ("World", "Sports")
    assert texts(corpus.train) == [
        ("Sports", ('A "title"', "Two\nlines")),
        ("World", ("B", "")),
    ]
    assert texts(corpus.test) == [("World", ("C", "d"))]
    assert corpus.train[1].where == f"{tmp_path}/train.csv:3"


def test_csv_without_names(tmp_path):
    write(tmp_path, train_DOT_csv='"5","good"\n"1","bad"\n', test_DOT_csv="")
    (tmp_path / "test.csv").unlink()
    corpus = text_corpora.read(f"yelp:{tmp_path}")
    assert corpus.labels == ("1", "5") and not corpus.test


@pytest.mark.parametrize(
    "train, test, message",
    [
        ('"1","a"\n"","b"\n', '"1","a"\n', "train.csv:2: the document has no label"),
        ('"1","a"\n', '"3","a"\n', "test.csv:1: class '3' is not among those of"),
        ('"1"\n', '"1","a"\n', "train.csv:1: a class and a text are needed"),
        (b'"1","a"\n"1","\xff"\n', '"1","a"\n', "train.csv:.: not valid UTF-8"),
        ("", "", "train.csv is empty|train.csv: empty|empty"),
    ],
)
def test_mistakes_in_csv(tmp_path, train, test, message):
    write(tmp_path, train_DOT_csv=train, test_DOT_csv=test)
    with pytest.raises(UserError, match=message):
        text_corpora.read(f"csv:{tmp_path}")


def test_a_class_that_has_no_name(tmp_path):
    write(tmp_path, train_DOT_csv='"3","a"\n', classes_DOT_txt="x\ny\n")
    with pytest.raises(UserError, match="class '3', allowed is 1 to 2"):
        text_corpora.read(f"dbpedia:{tmp_path}")


def test_imdb(tmp_path):
    write(
        tmp_path,
        train__pos__0_9_DOT_txt="great<br />film",
        train__neg__0_1_DOT_txt="",
        train__unsup__0_0_DOT_txt="unknown",
        test__pos__0_8_DOT_txt="fine",
    )
    corpus = text_corpora.read(f"imdb:{tmp_path}")
    assert corpus.labels == ("neg", "pos")
    assert texts(corpus.train) == [("neg", ("",)), ("pos", ("great<br />film",))]
    assert texts(corpus.unlabelled) == [(None, ("unknown",))]
    assert len(corpus.all()) == 4
    write(tmp_path, test__odd__1_DOT_txt="x")
    with pytest.raises(UserError, match="1.txt: class 'odd' is not among those"):
        text_corpora.read(f"imdb:{tmp_path}")


def test_trec(tmp_path):
    write(
        tmp_path,
        train_5500_DOT_label=b"DESC:manner How did it go ?\nNUM:date When , \xe9 ?\n",
        TREC_10_DOT_label="NUM:dist How far ?\n",
    )
    corpus = text_corpora.read(f"trec:{tmp_path}")
    assert corpus.labels == ("DESC", "NUM")
    assert corpus.train[1].fields == ("When , \u00e9 ?",)
    write(tmp_path, TREC_10_DOT_label="How far ?\n")
    with pytest.raises(UserError, match="TREC_10.label:1: 'CLASS:fine question'"):
        text_corpora.read(f"trec:{tmp_path}")


def test_wikitext_and_ptb(tmp_path):
    article = " \n = One = \n \n text \n\n = = Part = = \n more \n = Two = \n end \n"
    names = ("train", "valid", "test")
    write(tmp_path, **{f"wiki_DOT_{name}_DOT_tokens": article for name in names})
    corpus = text_corpora.read(f"wikitext:{tmp_path}")
    assert [x.fields[0].split()[1] for x in corpus.train] == ["One", "Two"]
    assert "Part" in corpus.train[0].fields[0]
    write(tmp_path, **{f"ptb_DOT_{name}_DOT_txt": " a <unk> \n b \n" for name in names})
    corpus = text_corpora.read(f"ptb:{tmp_path}")
    assert corpus.validation[0].fields == (" a <unk> \n b ",)


def test_prepared_sets(tmp_path):
    vader = tmp_path / "vader"
    rows = "".join(f"{i}\t{i - 4.5}\ttext {i}\n" for i in range(10))
    write(vader, movieReviewSnippets_GroundTruth_DOT_txt=rows)
    corpus = text_corpora.read(f"vader-movie:{vader}")
    assert corpus.labels == ("negative", "positive")
    assert (len(corpus.train), len(corpus.test)) == (8, 2)
    spam = tmp_path / "spam"
    mail = "From x\nsubject: Win\n\nBody \udc80"
    write(spam, spam_1__a_DOT_txt=mail.encode("latin-1", "replace"))
    (spam / "spam_1").rename(spam / "spam-1")
    write(spam, easy__b_DOT_txt="Subject: Hi\n\nBody")
    found = text_corpora.read(f"spam-assassin:{spam}").train
    assert ("spam", ("Win", "Body ?")) in texts(found)
    brown = write(
        tmp_path / "brown", ca01="\n\tThe/at Fulton/np-tl 1\\/2/cd\n\n\ta/b ./.\n"
    )
    assert text_corpora.read(f"brown:{brown}").train[0].fields == (
        "The Fulton 1\\/2\na .",
    )


def test_embedded_corpora():
    corpus = text_corpora.read("embedded:topics")
    assert len(corpus.labels) == 5 and len(corpus.train) > 500 and corpus.test
    prose = documents(packages=())
    assert len(" ".join(prose).split()) > 50_000


def test_balanced_subsets_and_held_out_shares():
    rows = [text_corpora.Document((str(i),), "ab"[i % 10 == 0]) for i in range(100)]
    chosen = text_corpora.balanced(rows, 16, seed=1)
    assert sorted(x.label for x in chosen) == ["a"] * 8 + ["b"] * 8
    assert len(set(chosen)) == 16
    assert chosen == text_corpora.balanced(rows, 16, seed=1)
    assert chosen != text_corpora.balanced(rows, 16, seed=2)
    # A larger subset holds the smaller one: curves over sizes are of one draw.
    assert set(chosen) <= set(text_corpora.balanced(rows, 40, seed=1))
    rest, share = text_corpora.held_out(rows, 0.1)
    assert len(share) == 10 and not set(rest) & set(share)
    with pytest.raises(UserError, match="101 labelled examples are wanted"):
        text_corpora.balanced(rows, 101)


def test_unknown_sources():
    with pytest.raises(UserError, match="unknown data 'imbd:x'"):
        text_corpora.read("imbd:x")
    with pytest.raises(UserError, match="no such folder"):
        text_corpora.read("imdb:/nowhere")
    with pytest.raises(UserError, match="no file fits"):
        text_corpora.read("text:/nowhere/*.txt")
