"""The embedded task of packages: what a document is, and that splits share nothing."""

import pytest

from tfdl.data import docstrings, package_docs, text_corpora
from tfdl.engine.errors import UserError


@pytest.fixture(autouse=True)
def sources(monkeypatch, tmp_path):
    """A file a letter in each package, and a text that all of them have."""

    def files(package):
        for letter in "abcdefghijklmnop":
            path = tmp_path / f"{package}-{letter}.py"
            own = f"Reads the file {letter} " + f"of {package}x as it lies there. " * 3
            shared = "Returns whatever it was given, " + "again " * 8
            path.write_text(
                f'"""{own}"""\ndef f():\n    """{shared}"""\ndef g():\n    """Short."""'
            )
            yield f"{letter}.py", path

    monkeypatch.setattr(docstrings, "package_files", files)
    package_docs._read.cache_clear()
    yield
    package_docs._read.cache_clear()


def test_splits_share_no_file_and_classes_no_text():
    corpus = text_corpora.read("embedded:packages")
    assert corpus.labels == package_docs.LABELS
    splits = (corpus.train, corpus.validation, corpus.test)
    texts = [row.fields[0] for split in splits for row in split]
    assert len(texts) == len(set(texts)) == 16 * len(corpus.labels)
    assert all(f"of {row.label}x" in row.fields[0] for row in corpus.train)
    assert len(corpus.train) > len(corpus.test) > len(corpus.validation) > 0


def test_a_document_is_prose_up_to_the_first_section_without_names():
    text = package_docs.opening(
        "Fits a NumPy array.\n\nMore of np.mean and scikit-learn is here.\n\n"
        "Parameters\n----------\nx : array\n    The array that is fitted, with care."
    )
    assert text == "Fits a package array. More of package.mean and package is here."
    keras = package_docs.opening("Builds a layer of it.\n\nArgs:\n    units: How many.")
    assert keras == "Builds a layer of it."


def test_unknown_split_and_a_package_without_sources(monkeypatch):
    with pytest.raises(UserError, match="split"):
        package_docs.documents("dev")
    package_docs._read.cache_clear()
    monkeypatch.setattr(docstrings, "package_files", lambda package: [])
    with pytest.raises(UserError, match="keras came without sources"):
        package_docs.documents("train")
