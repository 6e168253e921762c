"""Write a SavedModel that takes raw inputs: strings, images, noise.

    tfdl export --model_dir=mrpc --output=saved_models/mrpc

The SavedModel appears as the next version folder, saved_models/mrpc/1 and so on. It
loads without this package: in TF Serving, through TensorFlow's C API, with hub.load or
in Python (with `import tensorflow_text` before, for models that read text). It holds
warm-up requests; beside the versions are the files that run TF Serving on them. Files
that you edit there stay as they are.
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
    from tfdl.serving import configuration, description, saved_model, warmup

    base = pathlib.Path(values.output or f"saved_models/{config['model']}")
    name = configuration.model_name(base)
    model = registry.load(config["model"], "export")
    metrics = description.metrics(values.model_dir)
    module, signatures = model.serving_module(values.model_dir)

    def complete(folder: pathlib.Path) -> None:
        requests = model.warm_ups(values.model_dir)
        warmup.write(folder, name, requests, signatures)
        card = model.card(values.model_dir)
        description.write(
            folder, description.Description(config["model"], card, metrics)
        )
        kept = configuration.write(base, saved_model.size(folder))
        if kept:
            print(
                f"{base}: {', '.join(kept)} kept as edited; remove a file to get the "
                "default",
                file=sys.stderr,
            )

    version = saved_model.save(base, module, signatures, complete)
    described = {
        name: {
            "inputs": sorted(saved_model.inputs(function)),
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
