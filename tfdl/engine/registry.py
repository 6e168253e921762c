"""The models by their flag names, and their parts by convention.

A model is a package `tfdl/models/<name>/`. What a verb needs from it is a module
with a fixed name, imported only then:

    model.py    from_config(config, model_dir) -> keras.Model
    tasks.py    TASKS: name -> tfdl.engine.task.Task subclass
    convert.py  convert(source, output_dir, **options) -> dict
                to_original(model_dir, output_dir, **options) -> dict
    predict.py  predict(model_dir, flags...) -> iterator of records
    export.py   serving_module(model_dir) -> (tf.Module, signatures)
    prepare.py  prepare(config, input, output) -> dict
"""

import importlib
import importlib.util
import types

from tfdl.engine import errors

MODELS = {
    "bert": "BERT: bidirectional Transformer encoder (Devlin et al. 2018)",
    "imagenet18": "ImageNet in 18 minutes: ResNets, fast.ai's DAWNBench recipe (2018)",
}


def check(model: str) -> str:
    """Returns `model` if it is registered, else raises `UserError`."""
    if model not in MODELS:
        raise errors.unknown("model", model, MODELS)
    return model


def load(model: str, part: str) -> types.ModuleType:
    """Imports the module `part` of a model's package.

    Raises:
        UserError: the model is unknown, or has no such part.
    """
    name = f"tfdl.models.{check(model)}.{part}"
    if importlib.util.find_spec(name) is None:
        raise errors.UserError(f"model {model!r} does not support {part!r}")
    return importlib.import_module(name)
