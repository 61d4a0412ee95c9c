"""What a user can set, from three places: the command line beats the environment, which beats one configuration file."""

import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from initlint import configfile
from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = ["FORMATS", "Config", "Loaded", "OperatorHint", "Severity", "Waiver", "load", "resolve"]

Severity: TypeAlias = Literal["error", "warning", "note"]
Format: TypeAlias = Literal[
    "text", "concise", "json", "ndjson", "sarif", "junit", "github", "gitlab", "markdown", "openmetrics", "html"
]
FORMATS: tuple[str, ...] = get_args(Format)

Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Fraction: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Waiver(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """A finding somebody has looked at and accepted: visible in every format, not counted by the gate."""

    code: str
    reason: Annotated[str, msgspec.Meta(min_length=1)]
    where: str = "*"  # glob over node or weight name
    model: str = "*"  # glob over the model's key
    expires: datetime.date | None = None  # the finding counts again after this day


class OperatorHint(msgspec.Struct, frozen=True, rename={"behaves_as": "as"}, forbid_unknown_fields=True):
    """What a custom operator does, said by the user."""

    behaves_as: Literal["identity", "relu", "ignore"]


class Config(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """Every setting with its default. Paths are absolute once loaded from a file."""

    select: tuple[str, ...] | None = None  # code prefixes; None is every rule, a user's own packs included
    ignore: tuple[str, ...] = ()
    rule_dirs: tuple[str, ...] = ()
    rules: dict[str, dict[str, Any]] = {}  # per code: severity and parameters
    waive: tuple[Waiver, ...] = ()
    fail_on: Literal["error", "warning", "note", "never"] = "error"
    baseline: str | None = None
    coverage_floor: Fraction = 0.9
    allow_partial: bool = False
    phase: Literal["auto", "init", "trained"] = "auto"
    target: str | None = None
    samples: Positive | None = None  # joint draws of the input; None: as many as the model's size allows
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    dim: dict[str, Positive] = {}
    op: dict[str, OperatorHint] = {}
    input: str | None = None
    probe: bool = False
    device: Annotated[str, msgspec.Meta(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    name: str | None = None  # model key in place of the path
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None  # seconds a model; None: by its size
    memory: Annotated[int, msgspec.Meta(ge=128)] = 4096  # MB of resident memory a worker
    require_isolation: bool = False  # refuse where the kernel does not confine the worker
    jobs: Positive = 1
    format: Format = "text"
    output: tuple[str, ...] = ()  # FORMAT:PATH
    color: Literal["auto", "always", "never"] = "auto"
    progress: bool | None = None  # None: where stderr is a terminal
    all_tensors: bool = False
    cache: str | None = None  # folder of reports by content; None: none is kept


class Loaded(msgspec.Struct, frozen=True):
    """A configuration and where each of its values was set."""

    config: Config
    origins: Mapping[str, str] = msgspec.field(
        default_factory=dict
    )  # setting -> "pyproject.toml:12", "environment ..."
    root: Path = msgspec.field(default_factory=Path.cwd)  # model keys are relative to it
    files: tuple[configfile.Settings, ...] = ()

    def place(self, *path: str | int) -> str:
        """`file:line` of a setting, for an error about its value; the file alone, or nothing, where it is not there."""
        for settings in self.files:
            line = settings.line(path)
            if line is not None:
                return f"{settings.path}:{line}"
        return str(self.files[0].path) if self.files else ""


def load(path: Path) -> Loaded:
    """Settings of one file and of those it extends; `Refusal` (config) for anything it cannot mean."""
    files = configfile.chain(path)
    table: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for settings in reversed(files):
        _merge(table, origins, settings)
    return Loaded(_convert(table, files), origins, path.resolve().parent, tuple(files))


def resolve(
    overrides: Mapping[str, tuple[object, str]],
    *,
    path: Path | None = None,
    isolated: bool = False,
    base: Loaded | None = None,
) -> Loaded:
    """The configuration in force: file (given, or found from the working directory upward), then `overrides`.

    `overrides` maps a setting to its value and origin. `isolated` reads no file; `base` is taken instead of one.
    """
    if base is None and path is None and not isolated:
        path = configfile.find(Path.cwd())
    loaded = base or (Loaded(Config()) if path is None or isolated else load(path))
    if not overrides:
        return loaded
    values = {name: value for name, (value, _) in overrides.items()}
    if "dim" in values:
        values["dim"] = {**loaded.config.dim, **dict(values["dim"])}  # type: ignore[call-overload]
    origins = {**loaded.origins, **{name: origin for name, (_, origin) in overrides.items()}}
    try:  # replace() checks no types
        config = msgspec.structs.replace(loaded.config, **values)
        config = msgspec.convert(msgspec.to_builtins(config, builtin_types=(datetime.date,)), Config)
    except msgspec.ValidationError as error:
        setting, _, message = _parsed(error)
        origin = origins.get(setting.replace("-", "_"), "")
        raise Refusal(Reason.CONFIG, f"{origin}: {setting}: {message}") from None
    return Loaded(config, origins, loaded.root, loaded.files)


ADDING = {"extend-select": "select", "extend-ignore": "ignore"}
PATHS = ("baseline", "input", "cache")
PATH_LISTS = ("rule-dirs",)


def _merge(table: dict[str, Any], origins: dict[str, str], settings: configfile.Settings) -> None:
    """Lay one file over what it extends: values and lists replace, tables merge by key, the adding settings add."""
    for key, value in settings.table.items():
        target, merged = ADDING.get(key, key), value
        if key == "extend":
            continue
        if key in PATHS and isinstance(value, str):
            merged = str(settings.path.parent / value)
        elif key in PATH_LISTS and isinstance(value, list):
            merged = [str(settings.path.parent / item) if isinstance(item, str) else item for item in value]
        elif key in {"waive", *ADDING} and isinstance(value, list):
            # Without a select every rule is in force, a user's packs included: nothing can be added to that.
            everything = target == "select" and table.get(target) is None
            merged = None if everything else [*(table.get(target) or []), *value]
        elif key in {"rules", "op", "dim"} and isinstance(value, dict):
            merged = _merged(table.get(key, {}), value)
        table[target] = merged
        for path in _leaves(key, value):
            origins[".".join((target.replace("-", "_"), *path[1:]))] = f"{settings.path.name}:{settings.line(path)}"


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        both[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _leaves(key: str, value: object) -> list[tuple[str, ...]]:
    """Paths of the settings below a key, two levels down: `("rules", "IL201", "max_gain")`."""
    if key not in {"rules", "op", "dim"} or not isinstance(value, dict):
        return [(key,)]
    return [
        (key, name, leaf) if leaf else (key, name)
        for name, inner in value.items()
        for leaf in (inner if isinstance(inner, dict) else ("",))
    ]


def _convert(table: dict[str, Any], files: Sequence[configfile.Settings]) -> Config:
    _refuse_unknown(files)
    try:
        return msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        setting, path, message = _parsed(error)
        if "[...]" in str(error):
            setting, path = _entry(table, str(path[0]), path)
        where = next((f"{item.path}:{line}" for item in files if (line := item.line(path)) is not None), files[0].path)
        raise Refusal(Reason.CONFIG, f"{where}: {safe(setting)}: {message}") from None


def _refuse_unknown(files: Sequence[configfile.Settings]) -> None:
    """Raise for a key no setting has, with its line and the nearest name."""
    known = {item.encode_name for item in msgspec.structs.fields(Config)}
    for settings in files:
        configfile.refuse_unknown(settings, (), settings.table, {*known, *ADDING, "extend"})
        for index, waiver in enumerate(settings.table.get("waive") or ()):
            if isinstance(waiver, dict):
                names = {item.encode_name for item in msgspec.structs.fields(Waiver)}
                configfile.refuse_unknown(settings, ("waive", index), waiver, names)


def _entry(table: dict[str, Any], key: str, path: tuple[str | int, ...]) -> tuple[str, tuple[str | int, ...]]:
    """Which entry of a table of settings is wrong: msgspec names the table and the leaf only."""
    for name, value in table[key].items():
        try:
            msgspec.convert({key: {name: value}}, Config)
        except msgspec.ValidationError:
            full = (key, name, *path[1:])
            return ".".join(map(str, full)), full
    return key, path


def _parsed(error: msgspec.ValidationError) -> tuple[str, tuple[str | int, ...], str]:
    """Setting, path and message out of msgspec's "... - at `$.waive[1].code`"."""
    message, _, where = str(error).partition(" - at `$")
    path = tuple(
        int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", where.rstrip("`"))
    )
    return ".".join(map(str, path)) or "settings", path, _plain(message, path)


def _plain(message: str, path: tuple[str | int, ...]) -> str:
    """The message, with the values allowed where there is a list of them."""
    if message.startswith("Invalid enum value") and path:
        kinds = {item.encode_name: item.type for item in msgspec.structs.fields(Config)}
        allowed = get_args(kinds.get(str(path[0])))
        if path[0] == "op":
            allowed = ("identity", "relu", "ignore")
        value = message.removeprefix("Invalid enum value ")
        return f"{safe(value)} is not one of {', '.join(map(str, allowed))}"
    return safe(message[:1].lower() + message[1:])
