"""Finding and reading the files of original BERT checkpoints."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from tfdl.checkpoints import archives, safetensors, sniff, tf1, torch_archive
from tfdl.engine import files
from tfdl.engine.errors import UserError
from tfdl.models.bert import huggingface

MAX_JSON = 64 << 20
# What training leaves in a checkpoint besides the weights.
_NOT_WEIGHTS = re.compile(
    r"(^|/)(adam_[mv]|lamb_[mv]|Adam(_1)?|global_step|beta[12]_power"
    r"|save_counter|good_steps|loss_scale)$"
)
_TORCH = (".bin", ".pt", ".pth")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


@dataclasses.dataclass
class Source:
    """What was read, under the original's names.

    Attributes:
        kind: `"tf1"`, `"safetensors"` or `"torch"`.
        where: the file or prefix with the weights, for messages.
        arrays: TF1 name -> array, in the original's shapes.
        config: bert_config.json or config.json.
        head: the head that the configuration names, None to look at the weights.
        vocab: the vocabulary file, one token per line.
        do_lower_case: what the tokenizer's files say, None if they do not.
        names: folder and archive names that may tell the casing.
        skipped: names in the file that are no weights of the model.
    """

    kind: str
    where: str
    arrays: dict[str, np.ndarray]
    config: dict[str, Any]
    head: str | None
    vocab: pathlib.Path
    do_lower_case: bool | None
    names: tuple[str, ...]
    skipped: list[str]


def read(
    path: files.PathLike,
    scratch: pathlib.Path,
    vocab: files.PathLike | None = None,
    config: files.PathLike | None = None,
) -> Source:
    """Reads a checkpoint in any of the known layouts.

    Args:
        path: a folder, a zip archive of one, a file of weights, or a TF1 prefix.
        scratch: an empty folder for what has to be unpacked; the arrays may be
            mapped files in it.
        vocab: the vocabulary, if it is not beside the weights.
        config: the configuration, if it is not beside the weights.

    Raises:
        UserError: nothing known is there, or a file is damaged.
    """
    path = pathlib.Path(path)
    names = [path.absolute().name]
    if _is_archive(path):
        path = _unpack(path, scratch / "archive")
        names.append(path.name)
    elif path.is_file() or not path.is_dir():
        names.append(path.absolute().parent.name)
    folder = path if path.is_dir() else path.parent
    weights = _weights_file(path)
    reader = _read_tf1 if weights is None else _read_torch
    kind, where, arrays, skipped, settings = reader(weights or path, folder, config)
    _check_architecture(settings, where)
    tokenizer = {
        **_tokenizer_json(folder),
        **_optional_json(folder, "tokenizer_config"),
    }
    lower = tokenizer.get("do_lower_case")
    _warn_about_tokenizer(tokenizer, lower)
    return Source(
        kind=kind,
        where=where,
        arrays=arrays,
        config=settings,
        head=None if kind == "tf1" else huggingface.head(settings, arrays),
        vocab=_vocab_file(folder, scratch, vocab, tokenizer.get("vocab")),
        do_lower_case=lower if isinstance(lower, bool) else None,
        names=tuple(names),
        skipped=skipped,
    )


def read_json(path: files.PathLike) -> dict[str, Any]:
    """Reads a file with one JSON object."""
    try:
        value = json.loads(files.read_text(path, MAX_JSON))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise UserError(f"{path}: not plausible JSON") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object is needed")
    return value


def _is_archive(path: pathlib.Path) -> bool:
    if not path.is_file() or path.suffix in _TORCH:
        return False
    return path.suffix == ".zip" or sniff.kind(path) == sniff.ZIP


def _unpack(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Unpacks an archive; returns the folder in it that holds the checkpoint."""
    target.mkdir(parents=True)
    written = sorted(archives.unpack(path, target))
    for file in written:
        if file.name in ("bert_config.json", "config.json"):
            return file.parent
    for file in written:
        if file.suffix == ".index" or file.name in _WEIGHTS:
            return file.parent
    raise UserError(f"{path} holds no bert_config.json or config.json")


def _weights_file(path: pathlib.Path) -> pathlib.Path | None:
    """Returns transformers' weights at a path, None if there are none."""
    if path.is_file():
        named = path.suffix in (".safetensors", *_TORCH)
        return path if named or path.name in _WEIGHTS else None
    for name in _WEIGHTS:
        if (path / name).is_file():
            return path / name
    found = [*path.glob("*.safetensors"), *path.glob("*.bin")]
    return found[0] if len(found) == 1 else None


def _read_torch(weights, folder, config):
    if weights.name.endswith(".index.json"):
        tensors, kind = safetensors.read_sharded(weights), "safetensors"
    elif weights.suffix == ".safetensors":
        tensors, kind = safetensors.read(weights), "safetensors"
    else:
        tensors, kind = torch_archive.read(weights), "torch"
        if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
            tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, np.ndarray)
        for key, value in tensors.items()
    ):
        raise UserError(f"{weights} holds no plain dictionary of weights")
    arrays, skipped = huggingface.to_google(tensors, str(weights))
    settings = read_json(config or _beside(folder, "config.json"))
    return kind, str(weights), arrays, skipped, settings


def _read_tf1(path, folder, config):
    if path.is_dir() and not any(path.glob("*.index")):
        raise UserError(
            f"{path} holds no BERT checkpoint: neither *.ckpt.index (TF1) nor "
            "model.safetensors nor pytorch_model.bin"
        )
    try:
        prefix = tf1.find(path)
    except UserError:
        if not path.is_file():
            raise
        raise UserError(f"{path} is no checkpoint: {sniff.instead(path)}") from None
    names = tf1.list_names(prefix)
    if tf1.OBJECT_GRAPH in names:
        raise UserError(
            f"{prefix} names its variables by attribute path (TF2 object-based "
            "checkpoint); only checkpoints by variable name are read"
        )
    arrays = tf1.read(prefix, lambda name: not _NOT_WEIGHTS.search(name))
    skipped = [name for name in names if name not in arrays]
    settings = read_json(config or _beside(folder, "bert_config.json"))
    return "tf1", prefix, arrays, skipped, settings


def _beside(folder: pathlib.Path, name: str) -> pathlib.Path:
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} is missing; give its place with the option `config`")
    return path


def _optional_json(folder: pathlib.Path, name: str) -> dict[str, Any]:
    path = folder / f"{name}.json"
    return read_json(path) if path.is_file() else {}


def _check_architecture(config: Mapping[str, Any], where: str) -> None:
    """Refuses relatives of BERT that compute something else."""
    kind = config.get("model_type", "bert")
    if kind != "bert":
        raise UserError(f"{where} is a {kind!r} model, not BERT")
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise UserError(f"{where} has {positions!r} position embeddings, not BERT's")
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key):
            raise UserError(f"{where} is a decoder ({key}), not BERT's encoder")


def _tokenizer_json(folder: pathlib.Path) -> dict[str, Any]:
    """Returns vocabulary and settings of tokenizer.json, under BERT's names."""
    content = _optional_json(folder, "tokenizer")
    result = {}
    model, normalizer = content.get("model"), content.get("normalizer")
    if isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece":
        result["vocab"] = model.get("vocab")
    if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
        result["do_lower_case"] = normalizer.get("lowercase")
        result["strip_accents"] = normalizer.get("strip_accents")
        result["tokenize_chinese_chars"] = normalizer.get("handle_chinese_chars", True)
    return result


def _warn_about_tokenizer(settings: Mapping[str, Any], lower: Any) -> None:
    accents = settings.get("strip_accents")
    if accents is not None and accents != lower:
        logging.warning(
            "the tokenizer's strip_accents=%s differs from do_lower_case=%s; BERT's "
            "own tokenizer strips accents exactly when it lowercases",
            accents,
            lower,
        )
    if settings.get("tokenize_chinese_chars", True) is False:
        logging.warning(
            "the tokenizer has tokenize_chinese_chars=false; BERT's own tokenizer "
            "always splits Chinese characters"
        )


def _vocab_file(folder, scratch, given, ids) -> pathlib.Path:
    """Returns vocab.txt, or one made from the vocabulary in tokenizer.json."""
    path = pathlib.Path(given) if given else folder / "vocab.txt"
    if given or path.is_file():
        return files.require_file(path, MAX_JSON)
    if not isinstance(ids, dict) or not ids:
        raise UserError(f"{path} is missing; give its place with the option `vocab`")
    source = folder / "tokenizer.json"
    if not all(isinstance(i, int) for i in ids.values()):
        raise UserError(f"{source}: the vocabulary's ids are not all numbers")
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(f"{source}: the vocabulary's ids leave gaps")
    if any("\n" in token for token in tokens):
        raise UserError(f"{source}: a token has a line break in it")
    made = scratch / "vocab.txt"
    text = "".join(f"{token}\n" for token in tokens)
    made.write_bytes(text.encode("utf-8", "replace"))
    return made
