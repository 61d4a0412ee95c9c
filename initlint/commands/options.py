"""Options that are settings: one flag, one environment variable and one configuration key each."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from initlint import config as configuration
from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = ["Grouped", "analysis_options", "loaded", "overrides", "rule_codes", "rule_options", "setting"]

F = TypeVar("F", bound=Callable[..., Any])

# Option names that differ from the setting they set.
SETTING_OF = {"rules": "rule_dirs"}
NOT_SETTINGS = {"config", "isolated"}
CODE_LISTS = {"select", "ignore"}


class Setting(click.Option):
    """An option under a heading of the help text, with `INITLINT_<NAME>` as its environment variable."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section
        if self.envvar is None and self.name is not None:
            self.envvar = f"INITLINT_{self.name.upper()}"


class Grouped(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options section by section, in the order in which sections first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        sections["Options"] = sections.pop("Options")  # --help, last
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=30)


def setting(section: str, *flags: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option` for a setting; its default is the configuration's, so click's stays None."""
    attributes.setdefault("default", None)
    return click.option(*flags, cls=Setting, section=section, **attributes)


def analysis_options(command: F) -> F:
    """What the analysis assumes and does."""
    return _apply(
        command,
        setting("Analysis", "--probe/--no-probe", help="Also run the model through onnxruntime and measure."),
        setting("Analysis", "--device", metavar="cpu|cuda[:N]", help="Where the probe runs."),
        setting("Analysis", "--input", metavar="PATH", help="Real data: .npz, .npy or a folder of ONNX test data."),
        setting("Analysis", "--samples", type=int, metavar="N", help="Joint draws of the input."),
        setting("Analysis", "--seed", type=int, metavar="N", help="Seed of the draws (default 0)."),
        setting("Analysis", "--dim", multiple=True, metavar="NAME=SIZE", help="Size of a symbolic dimension."),
        setting("Analysis", "--phase", type=click.Choice(["auto", "init", "trained"]), help="What the weights are."),
        setting("Analysis", "--target", metavar="DTYPE", help="Format to be run in: float16, bfloat16, ..."),
        setting("Analysis", "--timeout", type=float, metavar="S", help="Seconds a model may take (default: by size)."),
        setting("Analysis", "--memory", type=int, metavar="MB", help="Memory a worker may hold (default 4096)."),
        setting(
            "Analysis",
            "--require-isolation/--no-require-isolation",
            help="Refuse unless the kernel confines the worker (Linux: Landlock, seccomp).",
        ),
    )


def rule_codes(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Codes of rules that begin as typed, with the rules' names, for the shell's completion."""
    from initlint.rulefile import built_in, read  # noqa: PLC0415 - only while completing

    typed, listed = incomplete.upper(), incomplete[: incomplete.rfind(",") + 1]
    start = typed[len(listed) :]
    found = [path for path in sorted(built_in().glob("*.toml")) if path.stem.startswith(start)]
    return [CompletionItem(listed + path.stem, help=read(path).name) for path in found]


def rule_options(command: F) -> F:
    """Which rules are in force, and where settings come from."""
    return _apply(
        command,
        setting("Rules", "--select", multiple=True, metavar="CODES", help="Only these: IL201, IL2, IL, ...",
                shell_complete=rule_codes),
        setting("Rules", "--ignore", multiple=True, metavar="CODES", help="Not these.", shell_complete=rule_codes),
        setting(
            "Rules", "--rules", multiple=True, metavar="DIR", help="A folder of your own rules.",
            type=click.Path(exists=True, file_okay=False),
        ),
        setting(
            "Configuration", "--config", metavar="FILE", help="Settings file (default: searched upward).",
            type=click.Path(dir_okay=False),
        ),
        setting("Configuration", "--isolated", is_flag=True, default=False, help="Read no settings file."),
    )  # fmt: skip


def overrides(context: click.Context) -> dict[str, tuple[object, str]]:
    """Settings given on the command line or in the environment, with their origin."""
    found: dict[str, tuple[object, str]] = {}
    known = configuration.Config.__struct_fields__
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        target = SETTING_OF.get(name, name)
        if source in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT} and target in known:
            value = _value(name, context.params[name])
            origin = "command line" if source is ParameterSource.COMMANDLINE else f"environment {parameter.envvar}"
            found[target] = (value, origin)
    return found


def loaded(context: click.Context) -> configuration.Loaded:
    """The configuration in force for this command."""
    path = context.params.get("config")
    return configuration.resolve(
        overrides(context), path=None if path is None else Path(path), isolated=bool(context.params.get("isolated"))
    )


def _apply(command: F, *decorators: Callable[[F], F]) -> F:
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _value(name: str, value: Any) -> object:
    if name in CODE_LISTS:
        return tuple(_codes(value))
    if name == "dim":
        return _dimensions(value)
    return tuple(value) if isinstance(value, list | tuple) else value


def _codes(values: Iterable[str]) -> Iterable[str]:
    return (code for value in values for code in value.replace(",", " ").split())


def _dimensions(values: Iterable[str]) -> Mapping[str, int]:
    sizes = {}
    for value in values:
        name, _, size = value.rpartition("=")
        if not name or not size.isascii() or not size.isdigit() or int(size[:10]) < 1:
            raise Refusal(Reason.USAGE, f"--dim {safe(value)}: expected NAME=SIZE")
        sizes[name] = int(size)
    return sizes
