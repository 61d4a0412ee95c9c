"""Paths that are URLs of object stores, and what of them may be kept and shown."""

import re

__all__ = ["is_url", "without_login"]

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://")
LOGIN = re.compile(r"(?<=://)[^/@?#\s]*@")
# Parameters by which a signed link lets whoever holds it in: those of S3, Google, Azure, and what others call theirs.
SIGNED = re.compile(
    r"(?<=[?&])(?:x-(?:amz|goog)-[\w-]*|awsaccesskeyid|googleaccessid|signature|sig|expires|se|sp|sv|sr|st|spr|sk\w+"
    r"|(?:access_|api_|auth_)?(?:token|key)|password)=[^&#\s'\"]*&?",
    re.IGNORECASE,
)


def is_url(path: str) -> bool:
    """Whether a path names an object store."""
    return URL.match(path) is not None


def without_login(text: str) -> str:
    """A URL, or a text that quotes one, without user, password and signature; anything else as it is."""
    if "://" not in text:
        return text
    return re.sub(r"[?&](?=$|[#\s'\"])", "", SIGNED.sub("", LOGIN.sub("", text)))
