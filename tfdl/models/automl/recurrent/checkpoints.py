"""TensorFlow 1 checkpoints of recurrent cells.

| names | what |
| --- | --- |
| `.../kernel`, `recurrent_kernel`, `bias`, `projection_weights` | `tf.contrib`'s NASCell, one or several |
| `language_model/embedding/w`, `rnn_cell/w_prev`, `rnn_cell/layer_0/w` ... | enas_lm, fixed |
| `child/embedding/w`, `rnn_cell/w_prev`, `rnn_cell/layer_1/w` [4, 1, H, 2H] ... | enas_lm, shared |

Of shared weights one architecture's are taken out. Every size comes from the tensors.
"""  # noqa: E501

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from tfdl.checkpoints import mapping, tf1
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.automl import text_tokens
from tfdl.models.automl.recurrent import genotypes, named
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.genotypes import Cell, NodesCell, TreeCell
from tfdl.models.automl.recurrent.language_model import LanguageModel
from tfdl.models.automl.recurrent.network import RecurrentConfig, RecurrentNetwork
from tfdl.text import fastai_vocab

OPTIONS = ("genotype", "vocab", "averaged", "rules")
FIXED, SHARED = "language_model/", "child/"
AVERAGES = ("moving_avg_flag/flag", "average/")
_OTHER = re.compile(
    r"(^|/)(global_step|Adam(_\d+)?|Momentum|RMSProp(_\d+)?|GradientDescent|beta\d_power"
    r"|Adagrad|start_idx(_\d+)?)$|(^|/)init_states/|^(backup|avg_step|average|"
    r"moving_avg_flag|controller|baseline)(/|$)"
)
Arrays = Mapping[str, np.ndarray]


def recognises(names: Mapping[str, Any]) -> bool:
    """Tells whether tensors of these names are of a recurrent cell."""
    fixed = any(f"{scope}rnn_cell/w_prev" in names for scope in (FIXED, SHARED))
    return fixed or any(name.endswith("recurrent_kernel") for name in names)


def convert(
    where: str,
    arrays: Arrays,
    output_dir: files.PathLike,
    *,
    genotype: str | None = None,
    vocab: files.PathLike | None = None,
    averaged: bool = True,
    rules: str = "words",
) -> dict[str, Any]:
    """Converts a checkpoint's tensors into a model directory.

    Args:
        where: the file, for messages.
        arrays: by their names.
        output_dir: the model directory to write.
        genotype: the cell, by a published name or its numbers ("enas_lm: 0 2 ...");
            by default nas_cell, or enas_lm if it has as many nodes.
        vocab: of a language model, the words in the order of their ids: a JSON list
            or a word a line. Without it the model takes and gives ids alone.
        averaged: takes the averages of the weights if averaging had begun.
        rules: of the tokenizer that goes with the vocabulary.

    Returns:
        `format`, `network`, `parameters`, `vocabulary` (words, or None), `skipped`.

    Raises:
        UserError: tensors are missing, left over or do not fit together. Nothing is
            written then.
    """
    if averaged:
        arrays = _averaged(arrays, where)
    skipped = sorted(name for name in arrays if _OTHER.search(name))
    kept = {name: x for name, x in arrays.items() if name not in skipped}
    bad = [n for n, x in kept.items() if not np.isfinite(x.astype("float32")).all()]
    if bad:
        raise UserError(f"{where}: {mapping.listing('with NaN or Inf', bad)}")
    if f"{SHARED}rnn_cell/w_prev" in kept:
        form, cell = "enas_lm shared", _cell(genotype, "enas_lm", NodesCell)
        kept = _taken_out(kept, cell, where)
    elif f"{FIXED}rnn_cell/w_prev" in kept:
        form, cell = "enas_lm", _cell(genotype, "enas_lm", NodesCell)
    else:
        form, cell = "nas_cell", _cell(genotype, "nas_cell", TreeCell)
    make = _nas_cells if form == "nas_cell" else _enas_lm
    kind, network, variables = make(kept, cell, where)
    mapping.assign(variables, kept, where)
    described = {"model": "automl", "network": {"kind": kind, **network}}
    assets = {}
    if vocab is not None:
        if kind != "language":
            raise UserError(f"{where} has no words: vocab does not go with it")
        words = _words(vocab, network["vocab_size"])
        assets[text_tokens.VOCAB] = fastai_vocab.dump(words)
        described["tokenizer"] = {"rules": rules, "base": "regex"}
    model = variables.model
    model_dir.save(output_dir, described, model, assets)
    return {
        "format": form,
        "network": kind,
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "vocabulary": len(words) if vocab is not None else None,
        "skipped": skipped,
    }


def to_original(source: files.PathLike, output_dir: files.PathLike) -> dict[str, Any]:
    """Writes a model directory's weights as a TensorFlow 1 checkpoint, bit for bit.

    Raises:
        UserError: the network is none that has such a checkpoint.
    """
    import tfdl

    network = model_dir.read_config(source)["network"]
    cell = genotypes.from_dict(network["genotype"])
    is_language = network["kind"] == "language"
    if is_language:
        fits = isinstance(cell, NodesCell) and network.get("num_layers", 1) == 1
        fits = fits and network.get("tied", True) and not network.get("softmax_bias")
        if not fits or cell.gate != "last" or cell.output != "all":
            raise UserError(
                f"{source}: only a language model like enas_lm's has an original "
                "format: one layer of highway nodes, a shared embedding, no bias"
            )
    elif not isinstance(cell, TreeCell):
        raise UserError(f"{source}: only cells that are trees have an original format")
    names = dict(Named(tfdl.load(source)))
    arrays = {name: variable.numpy() for name, variable in names.items()}
    with files.atomic_directory(output_dir) as scratch:
        tf1.write(scratch / "model.ckpt", arrays)
        if text_tokens.has(source):
            words = json.dumps(text_tokens.read(source), ensure_ascii=False)
            files.atomic_write(scratch / text_tokens.VOCAB, words + "\n")
    form = "enas_lm" if is_language else "nas_cell"
    return {"format": form, "tensors": len(arrays)}


class Named(dict):
    """A network's variables by their names in a checkpoint.

    Args:
        model: the network.
        scopes: of every cell's, if they differ from `rnn/nas_cell` or
            `rnn/multi_rnn_cell/cell_0/nas_cell` ...
    """

    def __init__(
        self, model: LanguageModel | RecurrentNetwork, scopes: list[str] | None = None
    ):
        super().__init__(_names(model, scopes))
        self.model: keras.Model = model


def _names(model, scopes) -> Iterator[tuple[str, keras.Variable]]:
    if isinstance(model, LanguageModel):
        yield f"{FIXED}embedding/w", model.embedding
        w_prev, *layers = model.cells[0].matrices
        yield f"{FIXED}rnn_cell/w_prev", w_prev
        for i, layer in enumerate(layers):
            yield f"{FIXED}rnn_cell/layer_{i}/w", layer
        return
    several = len(model.cells) > 1
    for i, cell in enumerate(model.cells):
        default = f"rnn/multi_rnn_cell/cell_{i}/nas_cell/" if several else ""
        scope = scopes[i] if scopes else default or "rnn/nas_cell/"
        yield f"{scope}kernel", cell.kernel
        yield f"{scope}recurrent_kernel", cell.matrices[0]
        if cell.bias_vector is not None:
            yield f"{scope}bias", cell.bias_vector
        if cell.projection_weights is not None:
            yield f"{scope}projection_weights", cell.projection_weights


def _nas_cells(arrays: Arrays, cell: TreeCell, where: str):
    """Returns kind, network and named variables of cells by themselves."""
    end = "recurrent_kernel"
    scopes = {name.removesuffix(end) for name in arrays if name.endswith(end)}
    # cell_10 comes after cell_9.
    scopes = sorted(scopes, key=lambda name: (len(name), name))
    sizes = []
    for scope in scopes:
        kernel = _matrix(arrays, f"{scope}kernel", where)
        recurrent = _matrix(arrays, f"{scope}recurrent_kernel", where)
        wide = kernel.shape[1]
        if wide % cell.base or recurrent.shape[1] != wide:
            raise UserError(
                f"{where}: {scope}kernel {list(kernel.shape)} and recurrent_kernel "
                f"{list(recurrent.shape)} do not fit a tree of {cell.base} leaves"
            )
        projection = arrays.get(f"{scope}projection_weights")
        width = 0 if projection is None else projection.shape[-1]
        has_bias = f"{scope}bias" in arrays
        sizes.append((kernel.shape[0], wide // cell.base, width, has_bias))
    network = RecurrentConfig(
        *(cell.to_dict(), int(sizes[0][0]), int(sizes[0][1])),
        num_layers=len(sizes),
        projection_size=int(sizes[0][2]),
        cell_bias=sizes[0][3],
    )
    model = RecurrentNetwork(network)
    model.build()
    return "recurrent", network.to_dict(), Named(model, scopes)


def _enas_lm(arrays: Arrays, cell: NodesCell, where: str):
    """Returns kind, network and named variables of a language model."""
    embedding = _matrix(arrays, f"{FIXED}embedding/w", where)
    w_prev = _matrix(arrays, f"{FIXED}rnn_cell/w_prev", where)
    layers = [n for n in arrays if re.fullmatch(rf"{FIXED}rnn_cell/layer_\d+/w", n)]
    if len(layers) != len(cell.nodes):
        raise UserError(
            f"{where} has {len(layers)} nodes, the genotype {len(cell.nodes)}: name "
            'the architecture, e.g. --option=genotype="enas_lm: 0 2 1 0 ..."'
        )
    if w_prev.shape[1] % 2:
        raise UserError(
            f"{where}: {FIXED}rnn_cell/w_prev {list(w_prev.shape)} is not [E + H, 2H]"
        )
    network = LanguageConfig(
        *(cell.to_dict(), int(embedding.shape[0]), int(embedding.shape[1])),
        hidden_size=int(w_prev.shape[1] // 2),
    )
    model = LanguageModel(network)
    model.build()
    return "language", network.to_dict(), Named(model)


def _taken_out(arrays: Arrays, cell: NodesCell, where: str) -> dict[str, np.ndarray]:
    """Returns an architecture's weights out of shared ones, as if it were fixed."""
    functions = genotypes.NODE_FUNCTIONS["enas_lm"]
    found = {}
    for name in ("embedding/w", "rnn_cell/w_prev"):
        found[FIXED + name] = _matrix(arrays, SHARED + name, where)
    count = sum(name.startswith(f"{SHARED}rnn_cell/layer_") for name in arrays)
    if count != len(cell.nodes):
        raise UserError(
            f"{where} has shared weights of {count} nodes, the genotype "
            f"{len(cell.nodes)}: name an architecture of as many"
        )
    for i, (previous, function) in enumerate(cell.nodes, 1):
        name = f"{SHARED}rnn_cell/layer_{i}/w"
        weights = arrays.get(name)
        if weights is None or weights.ndim != 4 or weights.shape[:2] != (4, i):
            shape = "missing" if weights is None else list(weights.shape)
            raise UserError(f"{where}: {name} is {shape}, not [4, {i}, H, 2H]")
        chosen = weights[functions.index(function), previous]
        found[f"{FIXED}rnn_cell/layer_{i - 1}/w"] = chosen
    return found


def _averaged(arrays: Arrays, where: str) -> Arrays:
    """Returns weights with their averages in their places, if averaging had begun."""
    flag, scope = AVERAGES
    if not np.any(arrays.get(flag, 0)):
        return arrays
    # The averages have numbers, in the order in which the weights were made.
    nodes = sum(bool(re.match(rf"{FIXED}rnn_cell/layer_\d+/w$", n)) for n in arrays)
    order = ["embedding/w", "rnn_cell/w_prev"]
    order += [f"rnn_cell/layer_{i}/w" for i in range(nodes)]
    found = dict(arrays)
    for i, name in enumerate(order):
        if f"{scope}{i}" not in arrays:
            raise UserError(f"{where}: {scope}{i}, the average of {name}, is missing")
        found[FIXED + name] = arrays[f"{scope}{i}"]
    return found


def _cell(text: str | None, default: str, kind: type) -> Cell:
    cell = named.cell(text or default)
    if not isinstance(cell, kind):
        raise UserError(f"genotype={text}: these weights are of another kind of cell")
    return cell


def _matrix(arrays: Arrays, name: str, where: str) -> np.ndarray:
    if name not in arrays:
        raise UserError(f"{where} lacks {name}")
    if arrays[name].ndim != 2:
        raise UserError(f"{where}: {name} is {list(arrays[name].shape)}, no matrix")
    return arrays[name]


def _words(path: files.PathLike, size: int) -> list[str]:
    text = files.read_text(path, fastai_vocab.MAX_BYTES)
    if text.lstrip().startswith("["):
        words = fastai_vocab.load(path)
    else:
        words = text.splitlines()
    if len(words) != size:
        raise errors.UserError(
            f"{path} has {len(words):,} words, the embedding {size:,} rows"
        )
    return words
