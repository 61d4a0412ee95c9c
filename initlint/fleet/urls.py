"""Paths that are URLs of object stores, and what of them may be kept and shown."""

import re

__all__ = ["is_url", "without_login"]

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://")
LOGIN = re.compile(r"(?<=://)[^/@]*@")


def is_url(path: str) -> bool:
    """Whether a path names an object store."""
    return URL.match(path) is not None


def without_login(path: str) -> str:
    """A URL without user and password; any other path as it is."""
    return LOGIN.sub("", path) if is_url(path) else path
