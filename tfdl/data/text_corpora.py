"""Labelled documents and plain corpora in the formats that they are given away in.

| source | what it reads |
| --- | --- |
| `ag:FOLDER`, `dbpedia:`, `yelp:`, `csv:` | train.csv, test.csv: class, then texts |
| `imdb:FOLDER` | train/, test/: a folder a class, a document a file; train/unsup |
| `trec:FOLDER` | train_5500.label, TREC_10.label: `CLASS:fine question` |
| `vader-movie[:FOLDER]` | film reviews, positive or negative, of `tfdl prepare` |
| `spam-assassin[:FOLDER]` | mails, spam or ham, of `tfdl prepare` |
| `embedded:topics` | passages of Python's documentation and what they are about |
| `embedded:packages` | descriptions of code and which package they come from |
| `brown[:FOLDER]` | the Brown corpus, of `tfdl prepare`; no labels |
| `embedded:docstrings` | what Python code says about itself; no labels |
| `embedded:python` | the same of other packages than those; no labels |
| `wikitext:FOLDER` | wiki.train.tokens, wiki.valid.tokens ...: articles; no labels |
| `ptb:FOLDER` | ptb.train.txt ...: a sentence a line; no labels |
| `text:GLOB` | a document a file; no labels |
"""

import csv
import dataclasses
import glob
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tfdl.data import docstrings, fetching, package_docs, topics
from tfdl.engine import errors, files

UNLABELLED = "unsup"
MAX_FILE_BYTES = 4 << 30
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Document:
    """A text, or its fields; `where` is its file and line."""

    fields: tuple[str, ...]
    label: str | None = None
    where: str = ""


@dataclasses.dataclass
class Corpus:
    """Documents by split; `unlabelled` are for language models alone."""

    train: list[Document]
    validation: list[Document] = dataclasses.field(default_factory=list)
    test: list[Document] = dataclasses.field(default_factory=list)
    unlabelled: list[Document] = dataclasses.field(default_factory=list)
    labels: tuple[str, ...] = ()

    def all(self) -> list[Document]:
        """Returns the documents of all splits: what a language model is tuned on."""
        return self.train + self.validation + self.test + self.unlabelled


def read(source: str) -> Corpus:
    """Reads a source; see the module.

    Raises:
        UserError: an unknown source, missing files, or a line that does not fit.
    """
    kind, _, where = source.partition(":")
    if source in EMBEDDED:
        return EMBEDDED[source]()
    if kind in FETCHED:
        folder = pathlib.Path(where) if where else fetching.fetch(kind)
        return _checked(FETCHED[kind](_folder(folder)))
    if kind == "text":
        return _texts(where)
    if kind not in READERS:
        known = [*EMBEDDED, *FETCHED, *(f"{name}:FOLDER" for name in READERS)]
        raise errors.unknown("data", source, [*known, "text:GLOB"])
    return _checked(READERS[kind](_folder(pathlib.Path(where))))


def held_out(
    documents: Sequence[Document], share: float, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    """Splits documents at random; returns (the rest, the share)."""
    order = np.random.default_rng(seed).permutation(len(documents))
    count = int(len(documents) * share)
    chosen = set(order[:count].tolist())
    rest = [x for i, x in enumerate(documents) if i not in chosen]
    return rest, [x for i, x in enumerate(documents) if i in chosen]


def balanced(
    documents: Sequence[Document], count: int, seed: int = 0
) -> list[Document]:
    """Returns `count` documents, as many of each class as possible.

    Raises:
        UserError: there are fewer documents.
    """
    if count > len(documents):
        raise errors.UserError(
            f"{count} labelled examples are wanted, there are {len(documents)}"
        )
    order = np.random.default_rng(seed).permutation(len(documents))
    turns: dict[str | None, int] = {}
    ranked = []
    for i in order:
        label = documents[i].label
        turns[label] = turns.get(label, -1) + 1
        ranked.append((turns[label], len(ranked), i))
    return [documents[i] for _, _, i in sorted(ranked)[:count]]


def label_ids(documents: Sequence[Document], labels: Sequence[str]) -> np.ndarray:
    """Returns the classes as int32 [N].

    Raises:
        UserError: a document has no label, or one that training has not seen.
    """
    ids = {label: i for i, label in enumerate(labels)}
    result = np.zeros([len(documents)], np.int32)
    for i, document in enumerate(documents):
        if document.label is None:
            raise errors.UserError(f"{document.where}: the document has no label")
        if document.label not in ids:
            raise errors.UserError(
                f"{document.where}: class {document.label!r} is not among those of "
                f"training: {', '.join(labels)}"
            )
        result[i] = ids[document.label]
    return result


def _checked(corpus: Corpus) -> Corpus:
    """Fills the labels in, and checks the other splits' against them."""
    if not corpus.train:
        raise errors.UserError("the training data has no documents")
    if not corpus.labels:
        found = {x.label for x in corpus.train if x.label is not None}
        corpus.labels = tuple(sorted(found))
    if corpus.labels:
        for split in (corpus.train, corpus.validation, corpus.test):
            label_ids(split, corpus.labels)
    return corpus


def _folder(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir() or not str(path).strip("."):
        raise errors.UserError(f"{path}: no such folder")
    return path


# --- a file a split, a document a line ---------------------------------------------


def _csv(folder: pathlib.Path) -> Corpus:
    """AG, DBpedia, Yelp: no header, classes from 1 on."""
    names = None
    if (folder / "classes.txt").is_file():
        names = files.read_text(folder / "classes.txt").split("\n")
        names = [name.strip() for name in names if name.strip()]
    test = folder / "test.csv"
    return Corpus(
        list(_csv_rows(folder / "train.csv", names)),
        test=list(_csv_rows(test, names)) if test.is_file() else [],
        labels=tuple(names or ()),
    )


def _csv_rows(path: pathlib.Path, names: list[str] | None) -> Iterator[Document]:
    files.require_file(path, MAX_FILE_BYTES)
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8-sig", errors="strict", newline="") as file:
        rows = csv.reader(file)
        try:
            for row in rows:
                if row:
                    yield _csv_row(row, names, f"{path}:{rows.line_num}")
        except UnicodeDecodeError as error:
            raise errors.UserError(
                f"{path}:{rows.line_num + 1}: not valid UTF-8 ({error.reason})"
            ) from None
        except csv.Error as error:
            raise errors.UserError(f"{path}:{rows.line_num}: {error}") from None


def _csv_row(row: list[str], names: list[str] | None, where: str) -> Document:
    label, *fields = row
    label = label.strip()
    if not fields:
        raise errors.UserError(f"{where}: a class and a text are needed, got {row!r}")
    if not label:
        raise errors.UserError(f"{where}: the document has no label")
    if names is not None:
        if not label.isdigit() or not 1 <= int(label) <= len(names):
            raise errors.UserError(
                f"{where}: class {label!r}, allowed is 1 to {len(names)} (classes.txt)"
            )
        label = names[int(label) - 1]
    return Document(tuple(fields), label, where)


def _trec(folder: pathlib.Path) -> Corpus:
    """Questions, `CLASS:fine How ...`; the originals are Latin-1."""

    def rows(name: str) -> Iterator[Document]:
        path = files.require_file(folder / name, MAX_FILE_BYTES)
        text = path.read_bytes().decode("latin-1")
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            label, _, question = line.strip().partition(" ")
            if ":" not in label or not question.strip():
                raise errors.UserError(
                    f"{path}:{number}: 'CLASS:fine question' is needed, got "
                    f"{line[:60]!r}"
                )
            yield Document((question,), label.partition(":")[0], f"{path}:{number}")

    return Corpus(list(rows("train_5500.label")), test=list(rows("TREC_10.label")))


def _vader(folder: pathlib.Path) -> Corpus:
    """The mean of twenty people's ratings of a sentence decides its class."""
    path = folder / "movieReviewSnippets_GroundTruth.txt"
    rows = []
    for number, line in enumerate(files.read_text(path, MAX_FILE_BYTES).split("\n"), 1):
        cells = line.rstrip("\r").split("\t")
        if cells == [""]:
            continue
        try:
            rating = float(cells[1])
            text = cells[2]
        except (IndexError, ValueError):
            raise errors.UserError(
                f"{path}:{number}: id, rating and text are needed, got {line[:60]!r}"
            ) from None
        label = "positive" if rating > 0 else "negative"
        rows.append(Document((text,), label, f"{path}:{number}"))
    train, test = held_out(rows, 0.2)
    return Corpus(train, test=test)


def _ptb(folder: pathlib.Path) -> Corpus:
    parts = [_lines(folder / f"ptb.{name}.txt") for name in ("train", "valid", "test")]
    return Corpus(*parts)


def _lines(path: pathlib.Path) -> list[Document]:
    text = files.read_text(path, MAX_FILE_BYTES).rstrip("\n")
    return [Document((text,), None, str(path))]


def _wikitext(folder: pathlib.Path) -> Corpus:
    parts = []
    for name in ("train", "valid", "test"):
        path = folder / f"wiki.{name}.tokens"
        if not path.is_file() and (folder / f"wiki.{name}.raw").is_file():
            path = folder / f"wiki.{name}.raw"
        text = files.read_text(path, MAX_FILE_BYTES)
        # " = Title = " begins an article, " = = Section = = " a part of one.
        articles = re.split(r"\n(?= = [^=\n]+ = \n)", text)
        parts.append([Document((x,), None, str(path)) for x in articles if x.strip()])
    return Corpus(*parts)


# --- a file a document -------------------------------------------------------------


def _imdb(folder: pathlib.Path) -> Corpus:
    """A folder a class in train/ and test/; of train/unsup classes are unknown."""
    train = _class_folders(_folder(folder / "train"))
    test = _class_folders(folder / "test") if (folder / "test").is_dir() else []
    unlabelled = [
        dataclasses.replace(x, label=None) for x in train if x.label == UNLABELLED
    ]
    return Corpus(
        [x for x in train if x.label != UNLABELLED],
        test=[x for x in test if x.label != UNLABELLED],
        unlabelled=unlabelled,
    )


def _class_folders(folder: pathlib.Path) -> list[Document]:
    rows = []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(sub.glob("*.txt")):
            rows.append(Document((_document(path),), sub.name, str(path)))
    if not rows:
        raise errors.UserError(f"{folder} has no CLASS/*.txt")
    return rows


def _document(path: pathlib.Path, encoding: str = "utf-8") -> str:
    try:
        # Unlike in a table an empty file is a document, an empty one.
        return path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise errors.UserError(f"{path}: not valid UTF-8 ({error.reason})") from None


def _spam(folder: pathlib.Path) -> Corpus:
    """Mails: subject and body; other headers would give the mailing list away."""
    rows = []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        label = "spam" if sub.name.startswith("spam") else "ham"
        for path in sorted(sub.glob("*.txt")):
            mail = _document(path, "latin-1").replace("\r\n", "\n")
            head, _, body = mail.partition("\n\n")
            subject = re.search(r"^Subject:(.*)", head, re.MULTILINE | re.IGNORECASE)
            text = (subject[1].strip() if subject else "", body)
            rows.append(Document(text, label, str(path)))
    train, test = held_out(rows, 0.2)
    return Corpus(train, test=test)


def _brown(folder: pathlib.Path) -> Corpus:
    """Words without their parts of speech."""
    rows = []
    for path in sorted(folder.glob("c[a-r][0-9][0-9]")):
        lines = files.read_text(path, MAX_FILE_BYTES).split("\n")
        sentences = [
            " ".join(token.rpartition("/")[0] for token in line.split())
            for line in lines
        ]
        text = "\n".join(sentence for sentence in sentences if sentence)
        rows.append(Document((text,), None, str(path)))
    if not rows:
        raise errors.UserError(f"{folder} has no files of the Brown corpus (ca01 ...)")
    return Corpus(rows)


def _texts(pattern: str) -> Corpus:
    paths = sorted(path for path in glob.glob(pattern) if pathlib.Path(path).is_file())
    if not paths:
        raise errors.UserError(f"text:{pattern}: no file fits")
    return Corpus(
        [Document((files.read_text(p, MAX_FILE_BYTES),), None, p) for p in paths]
    )


# --- embedded ----------------------------------------------------------------------


def _topics() -> Corpus:
    def passages(split: str) -> list[Document]:
        rows = topics.labelled_passages(split)
        return [Document((text,), label, "embedded:topics") for text, label in rows]

    return Corpus(passages("train"), test=passages("validation"), labels=topics.LABELS)


def _packages() -> Corpus:
    def split(name: str) -> list[Document]:
        rows = package_docs.documents(name)
        return [Document((text,), label, "embedded:packages") for text, label in rows]

    return Corpus(*map(split, SPLITS), labels=package_docs.LABELS)


def _docstrings() -> Corpus:
    rows = docstrings.documents()
    return Corpus([Document((text,), None, "embedded:docstrings") for text in rows])


def _python() -> Corpus:
    """Nothing of the packages that `embedded:packages` asks for."""
    rows = docstrings.documents(docstrings.OTHERS)
    rows += ["\n".join(document) for document in topics.documents()]
    return Corpus([Document((text,), None, "embedded:python") for text in rows])


EMBEDDED: dict[str, Callable[[], Corpus]] = {
    "embedded:topics": _topics,
    "embedded:packages": _packages,
    "embedded:docstrings": _docstrings,
    "embedded:python": _python,
}
FETCHED: dict[str, Callable[[pathlib.Path], Corpus]] = {
    "vader-movie": _vader,
    "spam-assassin": _spam,
    "brown": _brown,
}
READERS: dict[str, Callable[[pathlib.Path], Corpus]] = {
    "ag": _csv,
    "dbpedia": _csv,
    "yelp": _csv,
    "csv": _csv,
    "imdb": _imdb,
    "trec": _trec,
    "wikitext": _wikitext,
    "ptb": _ptb,
}
