"""Whether a SavedModel is a Reusable SavedModel, and what there is to know of it."""

import dataclasses
import pathlib

import tensorflow as tf
from tensorflow.python.tools import saved_model_utils

from tfdl.engine import errors, files

# tensorflow-text's operations: the newer ones have a prefix.
TEXT_PREFIX = "TFText>"
TEXT_OPS = frozenset(
    """
    CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets
    FindSourceOffsets MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap
    PhraseTokenize RegexSplitWithOffsets RougeL SentenceFragments SentenceFragmentsV2
    SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceTokenizeOp
    SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp
    SplitMergeTokenizeWithOffsets TokenizerFromLogits UnicodeScriptTokenizeWithOffsets
    WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
    """.split()
)


@dataclasses.dataclass(frozen=True)
class Interface:
    """What a loaded module offers.

    Attributes:
        parameters: numbers in all variables.
        trainable: numbers in the trainable ones.
        signatures: their names.
        parts: named callables besides the root, e.g. `mlm`.
        uses_text: whether it needs `import tensorflow_text`.
    """

    parameters: int
    trainable: int
    signatures: tuple[str, ...]
    parts: tuple[str, ...]
    uses_text: bool


def inspect(folder: files.PathLike) -> Interface:
    """Loads a SavedModel and checks TF Hub's Reusable SavedModel interface.

    Raises:
        UserError: it cannot be loaded, or lacks a part of the interface.
    """
    folder = pathlib.Path(folder)
    files.require_file(folder / "saved_model.pb")
    try:
        uses_text = _uses_text(folder)
        if uses_text:
            import tensorflow_text  # noqa: F401
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"{folder} cannot be loaded: {reason}") from None
    if not callable(loaded):
        raise errors.UserError(
            f"{folder} has signatures only; a module has to be callable as "
            "module(inputs), as those of `tfdl export` are"
        )
    variables = _variables(folder, loaded, "variables")
    trainable = _variables(folder, loaded, "trainable_variables")
    known = {variable.ref() for variable in variables}
    for variable in trainable:
        if variable.ref() not in known or not variable.trainable:
            raise errors.UserError(
                f"{folder}: {variable.name} of trainable_variables is not trainable, "
                "or not among the variables"
            )
    for loss in getattr(loaded, "regularization_losses", ()):
        if not callable(loss) or loss().shape.rank != 0:
            raise errors.UserError(f"{folder}: a regularization loss is no function")
    return Interface(
        parameters=_count(variables),
        trainable=_count(trainable),
        signatures=tuple(sorted(loaded.signatures)),
        parts=tuple(
            sorted(
                name
                for name, value in vars(loaded).items()
                if not name.startswith("_")
                and callable(value)
                and hasattr(value, "variables")
            )
        ),
        uses_text=uses_text,
    )


def _variables(folder, loaded, name: str) -> list[tf.Variable]:
    found = list(getattr(loaded, name, ()))
    if not all(isinstance(variable, tf.Variable) for variable in found):
        raise errors.UserError(f"{folder}: {name} is no list of variables")
    return found


def _count(variables) -> int:
    return sum(int(tf.size(v)) for v in variables if v.dtype.is_floating)


def _uses_text(folder: pathlib.Path) -> bool:
    saved = saved_model_utils.read_saved_model(str(folder))
    return any(
        node.op in TEXT_OPS or node.op.startswith(TEXT_PREFIX)
        for graph in saved.meta_graphs
        for nodes in (
            graph.graph_def.node,
            *(function.node_def for function in graph.graph_def.library.function),
        )
        for node in nodes
    )
