"""Embedded English prose: what Python code says about itself.

The documentation strings of the standard library and of packages that tfdl needs
anyway: about 600,000 words of real, technical English that are on every machine with
tfdl (each under its package's licence). The files are parsed, not imported. Versions
differ, so nothing may depend on exact counts.
"""

import ast
import importlib.util
import pathlib
import sysconfig
import warnings
from collections.abc import Iterator, Sequence

from tfdl.data import topics
from tfdl.engine import errors

PACKAGES = ("numpy", "scipy", "sklearn", "matplotlib")
# Packages that come along with those.
OTHERS = (
    "absl,fontTools,grpc,h5py,joblib,markdown,ml_collections,narwhals,PIL,pip,pygments,"
    "requests,rich,setuptools,tensorboard,tqdm,urllib3,werkzeug"
).split(",")
MAX_FILE_BYTES = 4 << 20


def documents(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Returns the prose of every module, a paragraph a line; repeated ones once.

    Args:
        packages: which packages, besides the standard library.

    Raises:
        UserError: there is none (a distribution without its sources).
    """
    seen: set[str] = set()
    result = []
    for path in _files(packages):
        paragraphs = []
        for text in strings(path):
            for paragraph in topics.paragraphs(text):
                if paragraph not in seen:
                    seen.add(paragraph)
                    paragraphs.append(paragraph)
        if paragraphs:
            result.append("\n".join(paragraphs))
    if not result:
        raise errors.UserError(
            "this Python has no sources to read documentation from; give another "
            "corpus, e.g. --config.data=text:FILES"
        )
    return result


def _files(packages: Sequence[str]) -> Iterator[pathlib.Path]:
    yield from _sources(pathlib.Path(sysconfig.get_paths()["stdlib"]))
    for name in packages:
        for _, path in package_files(name):
            yield path


def package_files(package: str) -> Iterator[tuple[str, pathlib.Path]]:
    """Yields (name within the package, path) of its modules, without its tests."""
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin:
        root = pathlib.Path(spec.origin).parent
        for path in _sources(root):
            yield path.relative_to(root).as_posix(), path


def _sources(root: pathlib.Path) -> Iterator[pathlib.Path]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        # Of the standard library's folder not what is installed in it.
        if "site-packages" in parts or "dist-packages" in parts:
            continue
        if not any("test" in part for part in parts):
            yield path


def strings(path: pathlib.Path) -> Iterator[str]:
    """Yields the documentation strings of a file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds):
            text = ast.get_docstring(node)
            if text:
                yield text
