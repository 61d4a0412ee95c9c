"""`--show-config`: every setting, and where it was set."""

import msgspec

from initlint.config import Config, Loaded
from initlint.text import safe

__all__ = ["shown"]

NESTED = {"rules", "op", "dim"}


def shown(loaded: Loaded) -> str:
    """All settings as the TOML that would set them, each with its source in a comment."""
    values = msgspec.to_builtins(loaded.config)
    lines = [f"# settings file: {safe(str(loaded.files[0].path), 1000) if loaded.files else 'none'}"]
    tables = []
    for item in msgspec.structs.fields(Config):
        value = values[item.encode_name]
        if item.name in NESTED:
            tables.extend(_table(item.encode_name, value, loaded))
        elif item.name == "waive":
            for waiver in value:
                tables += ["", f"[[waive]]   # {loaded.origins.get('waive', '')}"]
                tables += [f"{key} = {_literal(entry)}" for key, entry in waiver.items() if entry is not None]
        else:
            line = f"{item.encode_name} = {_literal(value)}" if value is not None else f"# {item.encode_name} not set"
            lines.append(f"{line:44} # {_source(loaded, item.name)}")
    return "\n".join([*lines, *tables]) + "\n"


def _source(loaded: Loaded, name: str) -> str:
    return safe(loaded.origins.get(name, "default"), 1000)


def _table(name: str, table: dict[str, object], loaded: Loaded) -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{name}.{_key(key)}]"]
            for inner, entry in value.items():
                lines.append(f"{inner + ' = ' + _literal(entry):44} # {_source(loaded, f'{name}.{key}.{inner}')}")
        else:
            if not lines:
                lines += ["", f"[{name}]"]
            origin = loaded.origins.get(f"{name}.{key}") or loaded.origins.get(name, "default")
            lines.append(f"{_key(key) + ' = ' + _literal(value):44} # {safe(origin, 1000)}")
    return lines


def _key(name: str) -> str:
    return name if name.replace("_", "a").replace("-", "a").isalnum() and name.isascii() else _literal(name)


def _literal(value: object) -> str:
    """A value as TOML writes it; JSON's strings, numbers and lists are TOML's."""
    return safe(msgspec.json.encode(value).decode(), 2000)
