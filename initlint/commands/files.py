"""Documents into files: all of them whole, or none."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

from initlint.errors import Reason, Refusal
from initlint.text import safe

__all__ = ["write_files"]


def write_files(documents: Iterable[tuple[str, bytes]]) -> None:
    """Write every file to a temporary name beside it, then rename them all; nothing is left behind on failure."""
    pending: list[tuple[str, str]] = []
    try:
        for path, content in documents:
            try:
                if _is_special(path):
                    Path(path).write_bytes(content)  # a pipe or a device has no name to replace
                else:
                    pending.append((_temporary(path, content), path))
            except OSError as error:
                raise Refusal(Reason.OUTPUT, f"cannot write {safe(path)}: {error.strerror}") from None
        while pending:
            temporary, path = pending[0]
            try:
                os.replace(temporary, os.path.realpath(path))  # noqa: PTH105 - keeps a symbolic link
            except OSError as error:
                raise Refusal(Reason.OUTPUT, f"cannot write {safe(path)}: {error.strerror}") from None
            del pending[0]
    finally:
        for temporary, _ in pending:
            Path(temporary).unlink(missing_ok=True)


def _temporary(path: str, content: bytes) -> str:
    target = Path(os.path.realpath(path))
    stream = NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name[:80]}.", delete=False)  # noqa: SIM115
    try:
        with stream:
            stream.write(content)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        Path(stream.name).chmod(mode)
    except BaseException:
        Path(stream.name).unlink(missing_ok=True)
        raise
    return stream.name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False
