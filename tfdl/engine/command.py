"""How a verb starts and ends: flags, help, one-line errors, exit codes."""

import errno
import logging
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence

from absl import flags

from tfdl.engine import errors

OVERRIDE = "--config."


class Overrides(dict):
    """The `--config.a.b=value` arguments of a command line, in order."""


def run(
    name: str,
    doc: str,
    flag_values: flags.FlagValues,
    main: Callable[[flags.FlagValues, Overrides], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Runs a verb and returns its exit code.

    Args:
        name: the verb.
        doc: its help text; the first line is the summary.
        flag_values: its flags.
        main: called with the parsed flags and the `--config.*` overrides.
        argv: the command line, `sys.argv` by default.

    Returns:
        0 when all went well, 1 after an error the user can mend, 2 for a command
        line that cannot be read, 130 after Ctrl-C, 143 when told to stop.
    """
    arguments = list(sys.argv if argv is None else argv)
    _quiet()
    # Bazel starts a program in its runfiles, and bazelw starts Bazel in the project's
    # root; paths mean the user's folder.
    for variable in ("TFDL_WORKING_DIRECTORY", "BUILD_WORKING_DIRECTORY"):
        if os.environ.get(variable):
            os.chdir(os.environ[variable])
            break
    if any(argument in ("--help", "-h", "-help", "help") for argument in arguments[1:]):
        print(usage(name, doc, flag_values))
        return 0
    try:
        overrides, arguments = _split_overrides(arguments)
        rest = _parse(flag_values, arguments)
        if len(rest) > 1:
            raise errors.UserError(
                f"unexpected argument {rest[1]!r}; flags are written --name=value"
            )
    except (flags.Error, errors.UserError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        print(f"`tfdl {name} --help` explains the flags", file=sys.stderr)
        return 2
    return _guarded(main, flag_values, overrides)


def _guarded(main, flag_values, overrides) -> int:
    try:
        code = main(flag_values, overrides) or 0
        sys.stdout.flush()
        return code
    except errors.UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader of our output (`head`, say) has left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        return _fail("out of memory")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            where = f"{error.filename}: " if error.filename else ""
            return _fail(f"{where}{error.strerror}")
        raise
    except Exception as error:
        told = errors.raised_within(error)
        if told is None:
            raise
        return _fail(str(told))


def require(values: flags.FlagValues, *names: str) -> None:
    """Raises `UserError` when one of the flags is not given."""
    for name in names:
        if not values[name].value:
            raise errors.UserError(f"--{name} is needed")


def no_overrides(overrides: Overrides) -> None:
    """Raises `UserError` when there are overrides that the verb does not take."""
    if overrides:
        raise errors.UserError(
            f"{OVERRIDE}{next(iter(overrides))}: this verb takes no recipe"
        )


def start_tensorflow() -> None:
    """Imports TensorFlow without its start-up chatter.

    The C++ side writes to the process's stderr before any log level is read; what
    it writes is kept aside and shown only if the import fails.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def usage(name: str, doc: str, flag_values: flags.FlagValues) -> str:
    """Returns the help text: what the verb does, its flags with their defaults."""
    lines = [textwrap.dedent(doc).strip(), "", "Flags:"]
    for flag in sorted(_own_flags(flag_values), key=lambda flag: flag.name):
        default = "" if flag.default in (None, "", False) else f" [{flag.default}]"
        head = f"  --{flag.name}{default}"
        text = " ".join((flag.help or "").split())
        body = textwrap.wrap(
            text, 76, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
        lines.extend([head, *body])
    return "\n".join(lines)


def _parse(flag_values: flags.FlagValues, arguments: list[str]) -> list[str]:
    for flag in _own_flags(flag_values):
        flag.unparse()  # what an earlier call in the same process was given
    try:
        return flag_values(arguments)
    except flags.UnrecognizedFlagError as error:
        names = (flag.name for flag in _own_flags(flag_values))
        raise errors.unknown("flag", error.flagname, names) from None


def _own_flags(flag_values: flags.FlagValues) -> list[flags.Flag]:
    builtin = ("flagfile", "undefok", "help", "helpfull", "helpshort", "helpxml")
    return [flag_values[name] for name in flag_values if name not in builtin]


def _split_overrides(arguments: list[str]) -> tuple[Overrides, list[str]]:
    overrides, rest = Overrides(), []
    for argument in arguments:
        if not argument.startswith(OVERRIDE):
            rest.append(argument)
            continue
        path, equals, value = argument[len(OVERRIDE) :].partition("=")
        if not equals or not path:
            raise errors.UserError(f"{argument}: write {OVERRIDE}field=value")
        overrides[path] = value
    return overrides, rest


def _fail(message: str) -> int:
    sys.stdout.flush()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _quiet() -> None:
    """Keeps TensorFlow's start-up chatter out of the way of what matters."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    # TensorFlow's own advice, on retracing for one, is not for users.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
