"""fastai's ULMFiT checkpoints into model directories, and back.

Read: language models, encoders and classifiers of fastai 0.7 (torch archives named
.h5), 1 and 2 (.pth, with or without optimizer, .tgz), with their pickled
vocabularies. Every size comes from the tensors. Written: safetensors under the names
of any of the three.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping, safetensors
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.ulmfit import names, sources
from tfdl.models.ulmfit.config import ClassifierConfig, EncoderConfig
from tfdl.models.ulmfit.model import VOCAB, build_model
from tfdl.text import fastai_rules

OPTIONS = (
    "vocab",
    "direction",
    "labels",
    "padding",
    "bptt",
    "max_len",
    "batch_change",
    "rules",
)
FORMATS = names.GENERATIONS
DIRECTIONS = ("forward", "backward")
# fastai's spaCy does not run in a graph; this one cuts as it does but for rare words.
BASE = "regex"
_OF_GENERATION = {
    "v0.7": {"padding": "fastai07", "bptt": 70, "max_len": 1400},
    "v1": {"padding": "fastai1", "bptt": 70, "max_len": 1400},
    "v2": {"padding": "fastai2", "bptt": 72, "max_len": 1440},
}
_DROPOUTS = (0.4, 0.1)
_BETA = {"v2": 0.001}


def convert(
    source: files.PathLike,
    output_dir: files.PathLike,
    *,
    vocab: files.PathLike | None = None,
    direction: str | None = None,
    labels: Sequence[str] = (),
    padding: str | None = None,
    bptt: int | None = None,
    max_len: int | None = None,
    batch_change: str | None = None,
    rules: str | None = None,
    **unknown: Any,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    An encoder alone becomes a language model: the decoder shares its embedding.

    Args:
        source: a file of weights, a folder with one, or a .tgz.
        output_dir: the model directory to write.
        vocab: the vocabulary, where none that fits lies beside the weights.
        direction: "forward" or "backward", which way the model reads; by default what
            the file's name says, forward if it says nothing.
        labels: names of a classifier's classes.
        padding: how a classifier treats padding, see `ClassifierConfig`; by default as
            its generation did.
        bptt: tokens a classifier reads at a time.
        max_len: tokens that it pools.
        batch_change: see `EncoderConfig`; by default "reset", of v2 "keep".
        rules: the tokenizer's, by default what the vocabulary shows.
        **unknown: refused by name.

    Returns:
        `format` (generation), `head`, `direction`, `parameters`, `vocabulary` (tokens,
        or None without one), `random` (what starts at zero or random), `skipped`.

    Raises:
        UserError: the files are not of an AWD-LSTM, are damaged, or do not fit
            together. Nothing is written then.
    """
    if unknown:
        raise errors.unknown("option of ulmfit's convert", next(iter(unknown)), OPTIONS)
    files.check_apart(source, output_dir)
    found = sources.read(source, vocab)
    settings, read = found.settings, found.read
    given = {"padding": padding, "bptt": bptt, "max_len": max_len}
    config = {
        "model": "ulmfit",
        "head": "classifier" if read.head == "classifier" else "language_model",
        "generation": read.generation,
        "direction": _direction(direction, found),
        "encoder": _encoder(found, batch_change).to_dict(),
    }
    if config["head"] == "classifier":
        config["classifier"] = _classifier(found, given).to_dict()
        config["labels"] = _labels(labels, settings, config["classifier"])
    config["tokenizer"] = _tokenizer(rules, found)
    if read.tracked:
        config["batches_tracked"] = read.tracked
    model = build_model(config)
    random = _assign(model, read)
    assets = {}
    if found.itos is not None:
        assets[VOCAB] = json.dumps(found.itos, ensure_ascii=False)
    model_dir.save(output_dir, config, model, assets)
    return {
        "format": read.generation,
        "head": config["head"],
        "direction": config["direction"],
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "vocabulary": None if found.itos is None else len(found.itos),
        "tokenizer": config["tokenizer"]["rules"],
        "random": random,
        "skipped": found.skipped,
    }


def to_original(
    source: files.PathLike, output_dir: files.PathLike, format: str | None = None
) -> dict[str, Any]:
    """Writes a model directory as safetensors under fastai's names, bit for bit.

    Beside `model.safetensors` lies the vocabulary, `itos.json`. Copies that fastai's
    files hold (decoder, dropout's embedding) are written out, so that its strict
    loading takes the tensors.

    Args:
        source: a model directory.
        output_dir: the folder to write.
        format: "v0.7", "v1" or "v2"; by default the generation it came from.

    Returns:
        `format`, `head`, `tensors`.

    Raises:
        UserError: no model directory of this model, a weight that the generation has
            no place for, or the folder cannot be written.
    """
    import tfdl

    files.check_apart(source, output_dir)
    config = model_dir.read_config(source)
    if config["model"] != "ulmfit":
        raise UserError(f"{source} is a {config['model']!r} model, not ulmfit")
    format = format or config.get("generation") or "v2"
    if format not in FORMATS:
        raise errors.unknown("format", format, FORMATS)
    model = tfdl.load(source)
    arrays = {
        name: variable.numpy() for name, variable in names.variable_names(model).items()
    }
    dropouts = tuple(config.get("classifier", {}).get("dropouts", ()))
    tensors = names.to_original(
        arrays, config["head"], format, dropouts, config.get("batches_tracked")
    )
    kept = {
        key: config[key]
        for key in ("direction", "encoder", "classifier", "labels", "tokenizer")
        if key in config
    }
    with files.atomic_directory(output_dir) as scratch:
        safetensors.write(
            scratch / "model.safetensors",
            tensors,
            {"format": "pt", sources.METADATA: json.dumps(kept)},
        )
        vocab = pathlib.Path(source) / model_dir.ASSETS / VOCAB
        if vocab.is_file():
            files.atomic_write(scratch / "itos.json", files.read_text(vocab))
    return {"format": format, "head": config["head"], "tensors": len(tensors)}


def _encoder(found: sources.Source, batch_change: str | None) -> EncoderConfig:
    """Returns the sizes that the tensors have."""
    arrays, where = found.read.arrays, found.read.where
    embedding = arrays["encoder.embedding"]
    layers = sum(name.endswith(".kernel") for name in arrays if "rnns" in name)
    first = arrays.get("encoder.rnns.0.recurrent")
    if embedding.ndim != 2 or first is None or first.ndim != 2 or not layers:
        raise UserError(f"{where} holds no AWD-LSTM's weights: an LSTM is missing")
    values = dict(found.settings.get("encoder") or {})
    pad = 1
    if found.itos:
        pad = next(
            (found.itos.index(t) for t in ("xxpad", "_pad_") if t in found.itos), 1
        )
    values |= {
        "vocab_size": int(embedding.shape[0]),
        "embedding_size": int(embedding.shape[1]),
        "hidden_size": int(first.shape[0]),
        "num_layers": layers,
        "pad_id": pad,
        "decoder_bias": "decoder_bias" in arrays
        or (found.read.head != "language_model" and found.read.generation != "v0.7"),
    }
    keeps = found.read.generation == "v2"
    values.setdefault("batch_change", "keep" if keeps else "reset")
    if batch_change is not None:
        values["batch_change"] = batch_change
    return EncoderConfig.from_dict(values)


def _classifier(found: sources.Source, given: Mapping[str, Any]) -> ClassifierConfig:
    arrays, generation = found.read.arrays, found.read.generation
    kernels = []
    while f"head.linears.{len(kernels)}.kernel" in arrays:
        kernels.append(arrays[f"head.linears.{len(kernels)}.kernel"])
    if not kernels or any(kernel.ndim != 2 for kernel in kernels):
        raise UserError(f"{found.read.where}: the classifier has no linear layer")
    widths = [int(kernel.shape[1]) for kernel in kernels]
    # Rates are in no file: those of the papers' recipe, where the depth is theirs.
    usual = _DROPOUTS if len(kernels) == len(_DROPOUTS) else (0.1,) * len(kernels)
    values = {
        "dropouts": usual,
        "beta": _BETA.get(generation, 0.0),
        **_OF_GENERATION[generation],
        **(found.settings.get("classifier") or {}),
        "num_classes": widths[-1],
        "hidden": widths[:-1],
        "bias": "head.linears.0.bias" in arrays,
    }
    values |= {name: value for name, value in given.items() if value is not None}
    return ClassifierConfig.from_dict(values)


def _labels(
    given: Sequence[str], settings: Mapping[str, Any], classifier: Mapping[str, Any]
) -> list[str]:
    given = [given] if isinstance(given, str) else list(given)
    labels = given or settings.get("labels") or []
    count = classifier["num_classes"]
    if labels and len(labels) != count:
        raise UserError(f"{len(labels)} labels for {count} classes")
    return list(labels) or [str(i) for i in range(count)]


def _direction(given: str | None, found: sources.Source) -> str:
    if given is not None:
        if given not in DIRECTIONS:
            raise errors.unknown("direction", given, DIRECTIONS)
        return given
    name = found.path.name.lower()
    backward = "bwd" in name or "backward" in name
    return found.settings.get("direction") or DIRECTIONS[backward]


def _tokenizer(rules: str | None, found: sources.Source) -> dict[str, Any]:
    if rules is not None:
        fastai_rules.check(rules)
    known = dict(found.settings.get("tokenizer") or {})
    shown = sources.rules(found.itos, found.read.generation)
    return {"base": BASE, **known, "rules": rules or known.get("rules") or shown}


def _assign(model: Any, read: names.Read) -> list[str]:
    bad = [
        name
        for name, array in read.arrays.items()
        if not np.isfinite(array.astype("float32")).all()
    ]
    if bad:
        raise UserError(f"{read.where}: {mapping.listing('with NaN or Inf', bad)}")
    variables = names.variable_names(model)
    if read.head == "encoder":
        # The decoder's bias is in no encoder's file; it starts at zero.
        return mapping.assign(variables, read.arrays, read.where, ("decoder_bias",))
    return mapping.assign(variables, read.arrays, read.where)
