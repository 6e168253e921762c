"""The models by their flag names, and their parts by convention.

A model is a package `tfdl/models/<name>/`. What a verb needs from it is a module
with a fixed name, imported only then:

    model.py    from_config(config, model_dir) -> keras.Model
    tasks.py    TASKS: name -> tfdl.engine.task.Task subclass
    convert.py  convert(source, output_dir, **options) -> dict
                to_original(model_dir, output_dir, **options) -> dict
    predict.py  predict(model_dir, flags...) -> iterator of records
    export.py   serving_module(model_dir) -> (exports.Reusable, signatures)
                warm_ups(model_dir) -> [exports.WarmUp]
                card(model_dir) -> exports.Card
                hub_modules(model_dir) -> {suffix: exports.Module}, if the module to
                publish is not the one that is served
    prepare.py  prepare(config, input, output) -> dict

An export takes what a client has (strings, encoded images, z and label) in its
signatures. Its root is callable as `root(inputs, training=False)` by TF Hub's common
interfaces, so that one SavedModel is served and loaded with `hub.load`:

    text              strings [B] -> vectors or logits
    image classifier  float32 [B, H, W, 3] in [0, 1] -> logits; normalising is inside
    feature vectors   the same -> [B, F]; a hub module "feature-vector"
    generators        dict of z, label (or one-hot y), truncation -> images

`exports.Reusable(model)` makes the root: it holds every variable once, functions use
the model by closure, `root.set_call(call, spec)` traces both modes. `warm_ups` has one
request or more for every signature, in the batch sizes and lengths that clients send;
the tests run them through TensorFlow's C API. `hub_modules` names the main module ""
and others by the suffix that is added to the published name: "preprocess" becomes
publisher/name-preprocess/1.
"""

import importlib
import importlib.util
import types

from tfdl.engine import errors

MODELS = {
    "automl": "AutoML: architecture search by learning and evolution (2016-2018)",
    "bert": "BERT: bidirectional Transformer encoder (Devlin et al. 2018)",
    "biggan": "BigGAN, BigGAN-deep: large class-conditional GANs (Brock et al. 2018)",
    "imagenet18": "ImageNet in 18 minutes: ResNets, fast.ai's DAWNBench recipe (2018)",
    "stylegan": "StyleGAN: a generator of styles that grows (Karras et al. 2018)",
    "ulmfit": "ULMFiT: language model fine-tuning for text classification (2018)",
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
