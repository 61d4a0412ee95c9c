"""Names as protobuf hands them over: text, or bytes where the file holds what is not UTF-8."""

from initlint.errors import Reason, Refusal

__all__ = ["as_text"]


def as_text(value: str | bytes, what: str) -> str:
    """A text of the file. Refusal where it is no UTF-8: no name that any library could use."""
    if isinstance(value, bytes):
        raise Refusal(Reason.MALFORMED, f"{what} is not UTF-8")
    return value
