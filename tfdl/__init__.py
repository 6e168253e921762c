"""The landmark vision and language systems of 2018 on today's TensorFlow.

model = tfdl.load("runs/bert/model")            # a keras.Model
tfdl.convert("bert", "uncased_L-12_H-768_A-12", "bert-base")
tfdl.list_models()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

__version__ = "0.1.0"


def list_models() -> list[str]:
    """Returns the names that `--model` accepts, sorted."""
    from tfdl.engine import registry

    return sorted(registry.MODELS)


def load(model_dir: str) -> "keras.Model":
    """Loads a model directory, written by `train` or `convert`.

    Args:
        model_dir: a folder with `config.json`, `model.weights.h5` and `assets/`.

    Returns:
        A built `keras.Model`, called on a dict of tensors; it returns a dict.

    Raises:
        tfdl.engine.errors.UserError: the folder is not a model directory, or its
            weights do not fit its configuration.
    """
    from tfdl.engine import model_dir as directory
    from tfdl.engine import registry

    config = directory.read_config(model_dir)
    model = registry.load(config["model"], "model").from_config(config, model_dir)
    directory.load_weights(model_dir, model)
    return model


def convert_checkpoint(
    model: str, source: str, output_dir: str, **options: Any
) -> dict:
    """Converts an original checkpoint into a model directory.

    Args:
        model: the model's flag name, e.g. `"bert"`.
        source: the original's file, folder or archive; the format is recognised.
        output_dir: the model directory to write.
        **options: what the model's own `convert` documents.

    Returns:
        A summary: format, head, parameter count and what was skipped.
    """
    from tfdl.engine import registry

    return registry.load(model, "convert").convert(source, output_dir, **options)


# `tfdl.convert` is a verb's module as well; both names can be called.
convert = convert_checkpoint
