"""The Python toolchain: a virtual environment from the pinned requirements."""

_BUILD = """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

package(default_visibility = ["//visibility:public"])

py_runtime(
    name = "runtime",
    interpreter_path = "{python}",
    python_version = "PY3",
)

py_runtime_pair(
    name = "pair",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

def _python_environment(ctx):
    # Resolving the labels makes Bazel run this again when the files change.
    script = ctx.path(Label("//third_party/bazel:venv.sh"))
    ctx.path(Label("//third_party/bazel:apt.sh"))
    ctx.path(Label("//:requirements.txt"))
    ctx.path(Label("//:requirements-dev.txt"))
    ctx.report_progress("making the Python environment")
    result = ctx.execute(
        ["bash", "-c", 'bash "$0" >python.txt', str(script)],
        timeout = 3600,
        quiet = False,
    )
    if result.return_code:
        fail("no Python environment; the error is above")
    ctx.file("BUILD", _BUILD.format(python = ctx.read("python.txt").strip()))

python_environment = repository_rule(
    implementation = _python_environment,
    environ = ["HOME", "TFDL_PYTHON", "TFDL_VENV", "XDG_CACHE_HOME"],
    local = True,
)
