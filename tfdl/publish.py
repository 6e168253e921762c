"""Publish a model as TF Hub modules: archive, documentation, registry.

    tfdl publish --model_dir=bert --handle=me/bert/1 --destination=folder:modules
    tfdl publish --saved_model=saved_models/bert/1 --handle=me/bert-mrpc/1 \\
        --destination=folder:modules --base_url=https://models.example.com
    tfdl publish --serve --destination=folder:modules
    tfdl publish --model_dir=bert --handle=me/bert/1 --destination=kaggle --dry_run

A folder is a registry that any web server serves: `hub.load(BASE_URL/me/bert/1)` loads
from it. --serve serves one on this machine. From a model directory come the modules
that TF Hub's common interfaces want (for text: a preprocessor and an encoder); a
SavedModel is published as it is.
"""

import contextlib
import json
import pathlib
import signal
import sys
import tempfile

from absl import flags

from tfdl.engine import command, errors

FLAGS = flags.FlagValues()
flags.DEFINE_string("model_dir", None, "A model directory.", flag_values=FLAGS)
flags.DEFINE_string(
    "saved_model",
    None,
    "Instead: a version folder that `tfdl export` wrote, or a module's .tar.gz.",
    flag_values=FLAGS,
)
flags.DEFINE_string("handle", None, "publisher/name/version.", flag_values=FLAGS)
flags.DEFINE_string("destination", None, "folder:PATH or kaggle.", flag_values=FLAGS)
flags.DEFINE_string(
    "base_url",
    None,
    "Where the folder is served, for the documentation [http://HOST:PORT].",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "task", "", "TF Hub's task tag, e.g. text-embedding.", flag_values=FLAGS
)
flags.DEFINE_string(
    "summary", "", "One sentence, instead of the model's own.", flag_values=FLAGS
)
flags.DEFINE_string(
    "language", "", "Language code of a text model, e.g. en.", flag_values=FLAGS
)
flags.DEFINE_string(
    "dataset", "", "TF Hub's dataset tag, e.g. wikipedia.", flag_values=FLAGS
)
flags.DEFINE_string(
    "license", "", "TF Hub's license tag, e.g. apache-2.0.", flag_values=FLAGS
)
flags.DEFINE_string(
    "variation", "default", "Kaggle's name of the variant.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "dry_run", False, "Say what would be published, and stop.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "serve", False, "Serve the folder on this machine.", flag_values=FLAGS
)
flags.DEFINE_string("host", "127.0.0.1", "Where --serve listens.", flag_values=FLAGS)
flags.DEFINE_integer(
    "port", 8080, "The port of --serve; 0 takes a free one.", flag_values=FLAGS
)


def publish(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Publishes, or serves, as the flags say; prints a JSON line for each module."""
    command.no_overrides(overrides)
    command.require(values, "destination")
    kind, _, path = values.destination.partition(":")
    if kind not in ("folder", "kaggle") or bool(path) != (kind == "folder"):
        raise errors.UserError(
            f"--destination={values.destination}: write folder:PATH or kaggle"
        )
    root = pathlib.Path(path) if path else None
    if values.serve:
        return serve(values, root)
    command.require(values, "handle")
    if bool(values.model_dir) == bool(values.saved_model):
        raise errors.UserError("give one of --model_dir and --saved_model")
    with _scratch(None if values.dry_run else root) as scratch:
        for record in _publish(values, root, scratch):
            print(json.dumps(record), flush=True)
    return 0


def serve(values: flags.FlagValues, root: pathlib.Path | None) -> int:
    """Serves a registry folder until it is told to stop."""
    from tfdl.hub import server

    if root is None:
        raise errors.UserError("--serve needs --destination=folder:PATH")
    with server.Server(root, values.host, values.port) as running:
        print(f"serving {root} at {running.address}", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        running.serve_forever()
    return 0


def _publish(
    values: flags.FlagValues, root: pathlib.Path | None, scratch: pathlib.Path
) -> list[dict[str, object]]:
    from tfdl.hub import folder, handles, kaggle, tags

    handle = handles.parse(values.handle)
    for name in ("task", "language", "dataset"):
        tags.check(name, values[name].value)
    tags.check_license(values.license)
    if root is None:
        kaggle.target(handle, values.variation)
        if not values.dry_run:
            kaggle.client()
    elif values.model_dir:
        # A SavedModel made anew is never equal to what is there.
        folder.check_free(root, handle)
    command.start_tensorflow()
    from tfdl.hub import publishing

    options = publishing.Options(
        handle=handle,
        base_url=(values.base_url or f"http://{values.host}:{values.port}").rstrip("/"),
        variation=values.variation if root is None else "",
        changes={
            name: values[name].value
            for name in ("task", "summary", "language", "dataset")
        },
        license=values.license,
    )
    if values.model_dir:
        candidates = publishing.from_model_dir(values.model_dir, scratch)
    else:
        candidates = publishing.from_saved_model(
            values.saved_model, scratch, values.task
        )
    if root is None:
        return publishing.to_kaggle(scratch, candidates, options, values.dry_run)
    return publishing.to_folder(root, scratch, candidates, options, values.dry_run)


@contextlib.contextmanager
def _scratch(root: pathlib.Path | None):
    """Yields a folder that goes away, on the file system of the registry."""
    new = root is not None and not root.exists()
    try:
        if new:
            root.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".publish.") as name:
            yield pathlib.Path(name)
    except OSError as error:
        raise errors.UserError(
            f"cannot write to {error.filename or root}: {error.strerror or error}"
        ) from None
    finally:
        if new:
            with contextlib.suppress(OSError):
                root.rmdir()  # when nothing was published


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("publish", __doc__, FLAGS, publish, argv)


if __name__ == "__main__":
    sys.exit(main())
