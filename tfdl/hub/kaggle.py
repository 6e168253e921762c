"""Publishing on Kaggle Models, through kagglehub."""

import pathlib
import types

from tfdl.engine import errors
from tfdl.hub import tags
from tfdl.hub.handles import Handle

FRAMEWORK = "tensorFlow2"
# Kaggle's names of the licenses that TF Hub has tags for.
LICENSES = {"apache-2.0": "Apache 2.0", "mit": "MIT"}


def target(handle: Handle, variation: str) -> str:
    """Returns Kaggle's handle, without a version: Kaggle counts versions itself.

    Raises:
        UserError: Kaggle has no such handles.
    """
    if not variation or "/" in handle.name or len(handle.name) < 3:
        raise errors.UserError(
            f"{handle}: Kaggle wants --variation and a name of at least three "
            "characters and without '/'"
        )
    tags.check("variation", variation)
    return f"{handle.publisher}/{handle.name}/{FRAMEWORK}/{variation}"


def address(handle: Handle, variation: str) -> str:
    """Returns what hub.load takes."""
    path = target(handle, variation)
    return f"https://www.kaggle.com/models/{path}/{handle.version}"


def client() -> types.ModuleType:
    """Returns kagglehub.

    Raises:
        UserError: it is not installed.
    """
    try:
        import kagglehub
    except ImportError:
        raise errors.UserError(
            "Kaggle Models needs kagglehub: pip install 'tfdl[kaggle]'; --dry_run "
            "shows what would be uploaded without it"
        ) from None
    return kagglehub


def describe(
    folder: pathlib.Path, handle: Handle, variation: str, license: str
) -> dict[str, object]:
    """Returns what an upload would send."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        "kaggle_handle": target(handle, variation),
        "license": LICENSES.get(license, license) or None,
        "version_notes": f"{handle}, published by tfdl",
        "files": {
            path.relative_to(folder).as_posix(): path.stat().st_size for path in found
        },
    }


def upload(
    folder: pathlib.Path, handle: Handle, variation: str, license: str
) -> dict[str, object]:
    """Uploads a module's folder as a new version.

    Raises:
        UserError: kagglehub is missing, or Kaggle refuses.
    """
    kagglehub = client()
    record = describe(folder, handle, variation, license)
    try:
        kagglehub.model_upload(
            record["kaggle_handle"],
            str(folder),
            license_name=record["license"],
            version_notes=record["version_notes"],
        )
    except Exception as error:  # kagglehub's errors share no base class
        reason = " ".join(str(error).split())[:300]
        raise errors.UserError(
            f"{handle} was not published on Kaggle: {reason}"
        ) from None
    return record
