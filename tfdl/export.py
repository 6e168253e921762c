"""Write a SavedModel that takes raw inputs: strings, images, noise.

    tfdl export --model_dir=mrpc --output=saved_models/mrpc

The SavedModel appears as the next version folder, saved_models/mrpc/1 and so on. It
loads without this package: in TF Serving, through TensorFlow's C API, or in Python
(with `import tensorflow_text` before, for models that read text).
"""

import json
import pathlib
import sys

from absl import flags

from tfdl.engine import command

FLAGS = flags.FlagValues()
flags.DEFINE_string("model_dir", None, "A model directory.", flag_values=FLAGS)
flags.DEFINE_string(
    "output", None, "The model's folder [saved_models/MODEL].", flag_values=FLAGS
)


def export(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Exports as the flags say; prints the version folder and the signatures."""
    command.no_overrides(overrides)
    command.require(values, "model_dir")
    from tfdl.engine import model_dir, registry

    config = model_dir.read_config(values.model_dir)
    command.start_tensorflow()
    from tfdl.serving import saved_model

    module, signatures = registry.load(config["model"], "export").serving_module(
        values.model_dir
    )
    base = pathlib.Path(values.output or f"saved_models/{config['model']}")
    version = saved_model.save(base, module, signatures)
    described = {
        name: {
            "inputs": sorted(function.structured_input_signature[1]),
            "outputs": sorted(function.structured_outputs),
        }
        for name, function in signatures.items()
    }
    print(json.dumps({"saved_model": str(version), "signatures": described}))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("export", __doc__, FLAGS, export, argv)


if __name__ == "__main__":
    sys.exit(main())
