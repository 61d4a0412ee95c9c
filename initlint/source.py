"""Bytes at rest, opened with care: regular files only, read by position, never mapped and never trusted to stay."""

import errno
import os
import stat
from pathlib import Path

import numpy as np

from initlint.errors import Reason, Refusal

__all__ = ["BytesSource", "FileSource", "describe_kind", "open_file"]

# First bytes of what people save under an .onnx name by mistake, and what to say of it.
KINDS: tuple[tuple[bytes, Reason, str], ...] = (
    (b"version https://git-lfs", Reason.LFS_POINTER, "is a git-LFS pointer, not the model: run `git lfs pull`"),
    (b"<!DOCTYPE", Reason.NOT_ONNX, "is an HTML page, not a model"),
    (b"<!doctype", Reason.NOT_ONNX, "is an HTML page, not a model"),
    (b"<html", Reason.NOT_ONNX, "is an HTML page, not a model"),
    (b"PK\x03\x04", Reason.NOT_ONNX, "is a zip archive (a PyTorch checkpoint or a Keras file?), not an ONNX model"),
    (b"\x1f\x8b", Reason.NOT_ONNX, "is gzip-compressed, not an ONNX model: unpack it first"),
    (b"\x80\x02", Reason.NOT_ONNX, "is a Python pickle (a PyTorch checkpoint?), not an ONNX model"),
    (b"\x80\x03", Reason.NOT_ONNX, "is a Python pickle (a PyTorch checkpoint?), not an ONNX model"),
    (b"\x80\x04", Reason.NOT_ONNX, "is a Python pickle (a PyTorch checkpoint?), not an ONNX model"),
    (b"\x80\x05", Reason.NOT_ONNX, "is a Python pickle (a PyTorch checkpoint?), not an ONNX model"),
    (b"\x89HDF", Reason.NOT_ONNX, "is an HDF5 file (a Keras model?), not an ONNX model"),
    (b"ir_version:", Reason.NOT_ONNX, "is a protobuf in text form, not an ONNX model"),
    (b"\xff\xfe", Reason.NOT_ONNX, "is a text file, not an ONNX model"),
    (b"\xfe\xff", Reason.NOT_ONNX, "is a text file, not an ONNX model"),
    (b"\xef\xbb\xbf", Reason.NOT_ONNX, "is a text file, not an ONNX model"),
)

HOLLOW = 1 << 30  # bytes from which a file is looked at for holes: a download that reserved its space and stopped
MOST_EXTENTS = 10_000


def describe_kind(head: bytes) -> tuple[Reason, str] | None:
    """What the first bytes say the file is, where that is not ONNX."""
    for magic, reason, words in KINDS:
        if head.startswith(magic):
            return reason, words
    if head[4:8] == b"ORTM":
        return Reason.NOT_ONNX, "is an onnxruntime flatbuffer (.ort), not an ONNX model"
    if head[8:10] == b'{"' and len(head) > 8:
        return Reason.NOT_ONNX, "is a safetensors file, not an ONNX model"
    if head.lstrip()[:1] == b"{":
        return Reason.NOT_ONNX, "is a JSON file, not an ONNX model"
    return None


class BytesSource:
    """A buffer in memory."""

    def __init__(self, payload: bytes | memoryview | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
        self.payload = (payload.data if isinstance(payload, np.ndarray) else memoryview(payload)).cast("B")

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.payload)

    @property
    def location(self) -> str:
        """No file."""
        return "<memory>"

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` on."""
        buffer = buffer.cast("B")
        end = offset + len(buffer)
        if offset < 0 or end > len(self.payload):
            raise Refusal(Reason.TRUNCATED, f"bytes {offset}..{end} are beyond the {len(self.payload)} there are")
        buffer[:] = self.payload[offset:end]

    def close(self) -> None:
        """Nothing to close."""


class FileSource:
    """A regular file held open; its device and inode stay those that were checked."""

    def __init__(self, path: str, descriptor: int, size: int) -> None:
        self.path, self.descriptor, self.size = path, descriptor, size

    @property
    def location(self) -> str:
        """Path of the file."""
        return self.path

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` on, in as many reads as it takes."""
        buffer = buffer.cast("B")
        end = offset + len(buffer)
        if offset < 0 or end > self.size:
            raise Refusal(Reason.TRUNCATED, f"bytes {offset}..{end} are beyond the file's {self.size}")
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self.descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise Refusal(Reason.TRUNCATED, f"{self.path}: {error.strerror}") from error
            if count == 0:
                raise Refusal(Reason.TRUNCATED, f"{self.path} became shorter while it was read")
            done += count

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _written(descriptor: int, size: int) -> int:
    """Bytes of a file outside its holes; all of them where the file system does not tell."""
    total = end = 0
    try:
        for _ in range(MOST_EXTENTS):
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            total += end - start
            if end >= size:
                return total
    except OSError as error:
        return total if error.errno == errno.ENXIO else size  # ENXIO: nothing but a hole from here on
    except AttributeError:
        return size  # a system without SEEK_HOLE
    return size


def open_file(path: str | os.PathLike[str], *, single_link: bool = False) -> FileSource:
    """Open a regular file without blocking on pipes and devices. Raises Refusal with the reason in words."""
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        dangling = Path(name).is_symlink()
        words = "is a link to a file that does not exist" if dangling else "does not exist"
        raise Refusal(Reason.NOT_FOUND, f"the file {words}") from None
    except IsADirectoryError:
        raise Refusal(Reason.NOT_A_FILE, "is a folder, not a file") from None
    except PermissionError:
        raise Refusal(Reason.PERMISSION, "the file may not be read") from None
    except (OSError, ValueError) as error:
        raise Refusal(Reason.NOT_FOUND, f"cannot be opened: {error}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Refusal(Reason.NOT_A_FILE, "is not a regular file")
    if single_link and status.st_nlink != 1:
        os.close(descriptor)
        raise Refusal(Reason.EXTERNAL_DATA, f"has {status.st_nlink} hard links; data of a model must have one")
    if status.st_size >= HOLLOW and _written(descriptor, status.st_size) < status.st_size // 2:
        os.close(descriptor)
        raise Refusal(Reason.TRUNCATED, "is mostly holes: more than half of its bytes were never written")
    return FileSource(name, descriptor, status.st_size)
