"""Text that came from a model, a path or a library, made harmless before it reaches any output."""

import re

__all__ = ["LIMIT", "escaped", "one_line", "safe"]

LIMIT = 240  # characters; the longest node names of real exports are near 150

# Printable for Unicode, yet invisible or able to disguise a neighbour: fillers, blank Braille, joiners, variation selectors.
_BLANK = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)
# Runners look for these anywhere in a line (##[, ##vso[, ##teamcity[) or at its start (::).
_SERVICE = re.compile(r"#(?=#\s*(?:\[|vso|teamcity))", re.IGNORECASE)


def safe(text: str, limit: int = LIMIT) -> str:
    """`text` on one line with nothing in it that a terminal, a log viewer or a CI runner would act on.

    Control, bidirectional, zero-width and unpaired surrogate characters become escapes (`\\x1b`, `\\u202e`), CI service
    messages are broken up, and what exceeds `limit` characters is cut from the middle. Applying it twice changes nothing.
    """
    total = len(text)
    if total > limit:
        text = text[:limit] + text[-limit:]  # bounds the work below, whatever the length
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_visible, text))
    if "##" in text:
        text = _SERVICE.sub(r"\\x23", text)
    start = text.lstrip()
    if start.startswith("::"):
        text = text[: len(text) - len(start)] + r"\x3a" + start[1:]
    if not start:
        text = f'"{text[: limit - 2]}"'
    return text if len(text) <= limit and total <= limit else _shortened(text, limit)


def escaped(document: str) -> str:
    """A JSON document without line breaks, in which all that `safe` makes visible is an escape of JSON's own.

    A parser reads the very text; a terminal, a log viewer or a CI runner finds nothing to act on.
    """
    if not document.isascii() or not document.isprintable():
        document = "".join(map(_json_escape, document))
    return _SERVICE.sub(r"\\u0023", document)


def one_line(error: BaseException, limit: int = LIMIT) -> str:
    """What an exception says, on one harmless line; its type where it says nothing."""
    return safe(" ".join(str(error).split()) or type(error).__name__, limit)


def _visible(character: str) -> str:
    code = ord(character)
    if character.isprintable() and code not in _BLANK:
        return character
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    if character.isprintable() and ord(character) not in _BLANK:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))


def _shortened(text: str, limit: int) -> str:
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"
