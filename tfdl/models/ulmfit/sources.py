"""Finding and reading the files of original ULMFiT checkpoints."""

import dataclasses
import json
import pathlib
import re
from typing import Any

from tfdl.checkpoints import (
    archives,
    restricted_pickle,
    safetensors,
    sniff,
    torch_archive,
)
from tfdl.engine import files
from tfdl.engine.errors import UserError
from tfdl.models.ulmfit.names import Read

# Where our own export keeps what no tensor shows.
METADATA = "tfdl"
MAX_VOCAB_BYTES = 256 << 20
_WEIGHTS = (".safetensors", ".pth", ".h5", ".pt", ".bin")
# Objects that may lie in a file beside the tensors: kept as they are, never made.
_INERT = ("fastai.", "fastcore.", "pathlib.")


@dataclasses.dataclass
class Source:
    """What was read.

    Attributes:
        read: the weights.
        itos: the vocabulary in the order of ids, or None.
        settings: what our own export said beside the tensors.
        skipped: what the file holds besides.
        path: the file of weights.
    """

    read: Read
    itos: list[str] | None
    settings: dict[str, Any]
    skipped: list[str]
    path: pathlib.Path


def read(path: files.PathLike, vocab: files.PathLike | None = None) -> Source:
    """Reads a checkpoint of any generation.

    Args:
        path: a file of weights, a folder with one, or a .tgz of such a folder.
        vocab: the vocabulary; by default one that lies beside the weights and fits.

    Raises:
        UserError: nothing known is there, a file is damaged, or the vocabulary does
            not fit.
    """
    names = (*_WEIGHTS, ".pkl")
    with archives.unpacked_tar(path, lambda name: name.endswith(names)) as place:
        weights = _weights_file(place)
        settings: dict[str, Any] = {}
        skipped: list[str] = []
        if sniff.kind(weights) == sniff.SAFETENSORS:
            arrays = safetensors.read(weights)
            settings = _settings(weights)
        else:
            arrays, skipped = _state_dict(weights)
        found = Read(arrays, str(weights))
        rows = len(found.arrays["encoder.embedding"])
        if vocab is not None:
            itos: list[str] | None = _fitting(vocab, rows, weights)
        else:
            itos = _beside(weights, rows, found.generation)
    return Source(found, itos, settings, skipped, weights)


def read_itos(path: files.PathLike) -> list[str]:
    """Reads a vocabulary: a pickled list, fastai's Vocab or fastcore's L, or JSON.

    Raises:
        UserError: it is anything but a list of texts.
    """
    path = files.require_file(path, MAX_VOCAB_BYTES)
    if path.suffix == ".json":
        try:
            value = json.loads(files.read_text(path, MAX_VOCAB_BYTES))
        except (ValueError, RecursionError):
            raise UserError(f"{path} is not valid JSON") from None
    else:
        value = restricted_pickle.load(path.read_bytes(), str(path), inert=_INERT)
    if isinstance(value, restricted_pickle.Inert):
        state = value.state
        if isinstance(state, dict):
            state = state.get("itos", state.get("items"))
        value = state if state is not None else value.items or _first(value.args)
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"{path} is no vocabulary: a list of tokens is needed")
    odd = [token for token in value if not isinstance(token, str)]
    if odd:
        raise UserError(
            f"{path} is no vocabulary: {sniff.shown(odd[0])} is not a token's text"
        )
    return list(value)


def _first(args: tuple) -> Any:
    return args[0] if args else None


def _weights_file(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return files.require_file(path)
    found = sorted(p for p in path.iterdir() if p.suffix in _WEIGHTS and p.is_file())
    if len(found) == 1:
        return files.require_file(found[0])
    if not found:
        raise UserError(f"{path} holds no weights ({', '.join(_WEIGHTS)})")
    raise UserError(
        f"{path} holds {len(found)} files of weights: name one, e.g. {found[0]}"
    )


def _state_dict(path: pathlib.Path) -> tuple[dict[str, Any], list[str]]:
    content = torch_archive.read(path, inert=_INERT)
    skipped: list[str] = []
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        skipped = [str(name) for name in content if name != "model"]
        content = content["model"]
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not weights by name")
    return content, skipped


def _settings(path: pathlib.Path) -> dict[str, Any]:
    text = safetensors.read_metadata(path).get(METADATA)
    if not text:
        return {}
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: its metadata {METADATA!r} are damaged")
    return settings


def _fitting(vocab: files.PathLike, rows: int, weights: pathlib.Path) -> list[str]:
    itos = read_itos(vocab)
    if len(itos) != rows:
        raise UserError(
            f"{vocab} has {len(itos):,} tokens, the embedding in {weights} has "
            f"{rows:,} rows: they do not belong together"
        )
    return itos


def _beside(weights: pathlib.Path, rows: int, generation: str) -> list[str] | None:
    """Returns the vocabulary in the same folder, if one belongs to these weights."""
    found = sorted(
        path
        for path in weights.parent.iterdir()
        if path.suffix in (".pkl", ".json")
        and ("itos" in path.name or path.stem == "vocab")
    )
    if len(found) == 1:
        return _fitting(found[0], rows, weights)
    fitting = []
    for path in found:
        itos = read_itos(path)
        if len(itos) == rows and (generation == "v0.7") == is_v07(itos):
            fitting.append((path, itos))
    # The one that shares most of its name with the weights, as v2 or fwd.
    words = _words(weights)
    fitting.sort(key=lambda pair: -len(words & _words(pair[0])))
    alike = [len(words & _words(path)) for path, _ in fitting[:2]]
    if len(alike) > 1 and alike[0] == alike[1] and fitting[0][1] != fitting[1][1]:
        names = ", ".join(path.name for path, _ in fitting)
        raise UserError(
            f"{weights}: several vocabularies lie beside it ({names}); name one with "
            "--option=vocab=FILE"
        )
    return fitting[0][1] if fitting else None


def _words(path: pathlib.Path) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", path.stem.lower()))


def is_v07(itos: list[str]) -> bool:
    """Tells whether a vocabulary is of fastai 0.7 rather than of a later one."""
    return "xxunk" not in itos[:9]


def rules(itos: list[str] | None, generation: str) -> str:
    """Returns the tokenizer rules that go with a vocabulary.

    fastai 1 and 2 order their special tokens differently, and fastai 2 still loads
    weights of fastai 1: the vocabulary tells what the text looked like.
    """
    by_generation = {"v0.7": "fastai07", "v1": "fastai1", "v2": "fastai2"}
    if itos is None or len(itos) < 9:
        return by_generation[generation]
    if is_v07(itos):
        return "fastai07"
    return "fastai1" if itos[5] == "xxmaj" else "fastai2"
