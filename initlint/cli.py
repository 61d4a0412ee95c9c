"""The command line: arguments in, text out, exit code. Nothing else prints or exits."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any

import click

from initlint.commands import terminal
from initlint.errors import Reason, Refusal
from initlint.text import one_line, safe

__all__ = ["run"]

# A command's module is imported when the command is used: help and explain stay light.
COMMANDS = {
    "check": "Lint models (the default command).",
    "explain": "A rule: words, condition, parameters in force, examples.",
    "rules": "All rules, their severity now, where each setting came from.",
    "query": "Ask the fact tables of a model in SQL.",
    "test": "Run the examples inside rule files.",
    "scan": "Lint thousands of models into a store; resume, compare, gate.",
    "site": "A static website over a store.",
    "convert": "Another format from a JSON or HTML report, without the model.",
}
EPILOG = """\b
Exit codes: 0 nothing at or above --fail-on; 1 findings; 2 the answer cannot be trusted
(bad usage, a file that is not analysed, a crash or a limit, coverage below the floor)."""


class Commands(click.Group):
    """The group of commands, where `initlint MODEL` means `initlint check MODEL`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `check` in front unless the first word is a command or an option of the group."""
        own = {flag for parameter in self.get_params(ctx) for flag in parameter.opts}
        if args and args[0] not in own and args[0] not in COMMANDS:
            args = ["check", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import a command's module and take the command from it."""
        if cmd_name not in COMMANDS:
            return None
        command: Any = import_module(f"initlint.commands.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if wanted and not context.resilient_parsing:
        from initlint import __version__  # noqa: PLC0415 - reads the package's metadata

        terminal.write_stdout(f"initlint {__version__}\n")
        context.exit(0)


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="[COMMAND] MODEL... [OPTIONS]",
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="The version."
)
@click.pass_context
def group(context: click.Context) -> None:
    """A linter for ONNX models.

    initlint predicts what happens to the signal in a network, from its weights alone: where it explodes,
    vanishes, saturates or leaves its number format, and which layers are to blame.
    """
    if context.invoked_subcommand is None:
        raise click.UsageError("give a model: a file, a folder or a glob")


def run(arguments: Sequence[str]) -> int:
    """The exit code for these arguments; whatever goes wrong is one line on standard error and code 2."""
    _catch_signals()
    try:
        result = group.main(list(arguments), prog_name="initlint", standalone_mode=False)
    except Refusal as refusal:
        terminal.complain(_where(refusal))
    except click.UsageError as error:
        terminal.complain(f"{_sentence(error)} (initlint{_command_of(error)} --help)")
    except click.ClickException as error:
        terminal.complain(_sentence(error))
    except terminal.ClosedPipe:
        pass  # nobody is left to tell
    except (terminal.Interrupted, KeyboardInterrupt, click.Abort):
        terminal.complain("interrupted")
    except MemoryError:
        terminal.complain("out of memory")
    except BrokenPipeError:
        terminal.discard_stdout()
    except Exception as error:  # noqa: BLE001 - the last line of defence: no user ever sees a traceback
        _report_fault(error)
    else:
        return result if isinstance(result, int) else 0
    return 2


def _where(refusal: Refusal) -> str:
    return refusal.message if refusal.reason != Reason.RULE_FILE else f"rule file: {refusal.message}"


def _sentence(error: click.ClickException) -> str:
    return safe(" ".join(error.format_message().split()).rstrip("."), 1000)


def _command_of(error: click.UsageError) -> str:
    name = error.ctx.info_name if error.ctx is not None else None
    return f" {name}" if name in COMMANDS else ""


def _report_fault(error: Exception) -> None:
    import traceback  # noqa: PLC0415 - only where something went wrong

    if os.environ.get("INITLINT_DEBUG"):
        traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {os.path.basename(frame.filename)}:{frame.lineno}" for frame in last)  # noqa: PTH119 - text only
    terminal.complain(f"fault in initlint itself: {type(error).__name__}: {one_line(error)}{place}")


def _interrupt(number: int, _: FrameType | None) -> None:
    raise terminal.Interrupted(number)


def _catch_signals() -> None:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, so that no worker and no half-written file stays behind."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    if sys.stdout is not None and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
