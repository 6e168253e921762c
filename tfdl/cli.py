"""The console script: `tfdl VERB ...`."""

import importlib
import importlib.util
import sys

from tfdl.engine import errors

VERBS = {
    "train": "train a model from a recipe, end with its metrics",
    "evaluate": "measure a model with its official metrics",
    "predict": "use a model on your own input",
    "convert": "turn an original checkpoint into a model directory, or back",
    "export": "write a SavedModel that takes raw inputs",
    "serve": "serve SavedModels over TF Serving's protocol",
    "publish": "publish a SavedModel as a TF Hub module",
    "prepare": "turn raw data into training records, fetch small real sets",
    "benchmark": "run a model's benchmark",
}


def verbs() -> dict[str, str]:
    """Returns the verbs of this installation with their summaries."""
    return {
        verb: text
        for verb, text in VERBS.items()
        if importlib.util.find_spec(f"tfdl.{verb}") is not None
    }


def usage() -> str:
    """Returns the help of `tfdl` itself."""
    from tfdl.engine import registry

    lines = ["tfdl: the landmark vision and language systems of 2018 on TensorFlow", ""]
    lines += ["usage: tfdl VERB --flag=value ...", "", "Verbs:"]
    lines += [f"  {verb:<11}{text}" for verb, text in verbs().items()]
    lines += ["", "Models:"]
    lines += [f"  {name:<11}{text}" for name, text in registry.MODELS.items()]
    lines += [
        "",
        "`tfdl VERB --help` explains a verb. Start with: tfdl train --model=bert",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the verb that the command line names; returns the exit code."""
    arguments = list(sys.argv if argv is None else argv)
    if len(arguments) < 2 or arguments[1] in ("-h", "--help", "help"):
        print(usage())
        return 0 if len(arguments) > 1 else 2
    verb = arguments[1]
    if verb == "--version":
        import tfdl

        print(tfdl.__version__)
        return 0
    if verb not in verbs():
        print(f"error: {errors.unknown('verb', verb, verbs())}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"tfdl.{verb}")
    return module.main([f"tfdl {verb}", *arguments[2:]])


if __name__ == "__main__":
    sys.exit(main())
