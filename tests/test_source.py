"""Bytes at rest: what a file is taken for, what of it is read, and which files are not opened."""

import gzip
import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from initlint import source
from initlint.errors import Reason, Refusal
from initlint.model import open_model
from initlint.source import BytesSource, FileSource, open_file

TENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
BLOCK = 4096  # of the file systems that have holes


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return stream.getvalue()


# What people save under an .onnx name, as the programs that write it do.
FILES: dict[str, tuple[bytes, Reason, str]] = {
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", Reason.LFS_POINTER, "git lfs pull"),
    "HTML": (b"<!DOCTYPE html><html>", Reason.NOT_ONNX, "an HTML page"),
    "html": (b"<!doctype html><html>", Reason.NOT_ONNX, "an HTML page"),
    "bare html": (b"<html><body>", Reason.NOT_ONNX, "an HTML page"),
    "zip": (zipped(), Reason.NOT_ONNX, "a zip archive"),
    "gzip": (gzip.compress(b"model"), Reason.NOT_ONNX, "gzip-compressed"),
    **{
        f"pickle {protocol}": (pickle.dumps({"w": 1}, protocol), Reason.NOT_ONNX, "a Python pickle")
        for protocol in (2, 3, 4, 5)
    },
    "HDF5": (b"\x89HDF\r\n\x1a\n\0\0\0\0", Reason.NOT_ONNX, "an HDF5 file"),
    "text form": (b"ir_version: 8\nproducer_name: ''", Reason.NOT_ONNX, "a protobuf in text form"),
    "UTF-16": ("ir_version".encode("utf-16"), Reason.NOT_ONNX, "a text file"),
    "UTF-16 the other way": (b"\xfe\xff" + "x".encode("utf-16-be"), Reason.NOT_ONNX, "a text file"),
    "UTF-8 with a mark": ("model".encode("utf-8-sig"), Reason.NOT_ONNX, "a text file"),
    "onnxruntime": (b"\x18\0\0\0ORTM\0\0\0\0", Reason.NOT_ONNX, "an onnxruntime flatbuffer"),
    "safetensors": (len(TENSORS).to_bytes(8, "little") + TENSORS + b"\0" * 4, Reason.NOT_ONNX, "a safetensors file"),
    "JSON": (json.dumps({"a": 1}).encode(), Reason.NOT_ONNX, "a JSON file"),
    "indented JSON": (b"\n  " + json.dumps({"a": 1}).encode(), Reason.NOT_ONNX, "a JSON file"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_model_is_said_by_its_kind(name: str) -> None:
    """In words that say what the file is, not that its bytes are wrong."""
    content, reason, words = FILES[name]
    with pytest.raises(Refusal, match=words) as refusal, open_model(content):
        pass
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    "content", [b"\x08\x07", b"\x08\x08:\0", b'\x08\x07\x12\x06x{"abc', b"\x80\x01", b"PK\x03", b"v"]
)
def test_what_may_be_a_model_is_none_of_them(content: bytes) -> None:
    """The first bytes of models, and of nothing."""
    assert source.describe_kind(content) is None


def file_source(folder: Path, content: bytes) -> FileSource:
    path = folder / "bytes"
    path.write_bytes(content)
    return open_file(path)


@pytest.mark.parametrize("kind", ["memory", "array", "file"])
def test_reading_by_position(tmp_path: Path, kind: str) -> None:
    """Any part of what there is, the empty one at the end too; nothing beyond it."""
    content = bytes(range(200))
    made: dict[str, Callable[[], Any]] = {
        "memory": lambda: BytesSource(content),
        "array": lambda: BytesSource(np.frombuffer(content, np.uint8)),
        "file": lambda: file_source(tmp_path, content),
    }
    opened = made[kind]()
    assert opened.size == 200
    assert str(opened.location) == (str(tmp_path / "bytes") if kind == "file" else "<memory>")
    for offset, count in ((0, 200), (0, 1), (199, 1), (50, 100), (200, 0), (0, 0)):
        buffer = np.zeros(count, np.uint8)
        opened.read_into(offset, buffer.data)
        assert buffer.tobytes() == content[offset : offset + count]
    for offset, count in ((0, 201), (199, 2), (200, 1), (-1, 2), (-1, 1), (1000, 1)):
        with pytest.raises(Refusal) as refusal:
            opened.read_into(offset, np.zeros(count, np.uint8).data)
        assert refusal.value.reason == Reason.TRUNCATED
    wide = np.zeros(25, np.uint64)
    opened.read_into(0, wide.data)  # a buffer of wider elements is filled byte by byte
    assert wide.tobytes() == content
    opened.close()
    opened.close()


def test_a_read_that_gives_less_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may hand out a large read in pieces."""
    original = os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, parts, at: original(descriptor, [parts[0][:7]], at))
    opened = file_source(tmp_path, bytes(range(100)))
    buffer = np.zeros(50, np.uint8)
    opened.read_into(30, buffer.data)
    assert buffer.tolist() == list(range(30, 80))


def test_a_file_that_shrinks_is_truncated(tmp_path: Path) -> None:
    """What was there when it was opened and is gone is no zeros."""
    opened = file_source(tmp_path, b"x" * 100)
    os.truncate(tmp_path / "bytes", 10)
    with pytest.raises(Refusal, match="became shorter") as refusal:
        opened.read_into(5, np.zeros(50, np.uint8).data)
    assert refusal.value.reason == Reason.TRUNCATED


def test_a_read_that_fails_is_a_refusal(tmp_path: Path) -> None:
    """A disk that fails, a descriptor that is gone: a reason, with the file's name."""
    opened = file_source(tmp_path, b"x" * 100)
    os.close(opened.descriptor)
    with pytest.raises(Refusal, match=str(tmp_path)) as refusal:
        opened.read_into(0, np.zeros(50, np.uint8).data)
    assert refusal.value.reason == Reason.TRUNCATED


def test_the_lowest_descriptor_is_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is a descriptor where standard input is closed; each is closed once."""
    closed: list[int] = []
    monkeypatch.setattr(os, "close", closed.append)
    opened = FileSource("p", 0, 1)
    opened.close()
    opened.close()
    assert closed == [0]


# -- what is not opened ------------------------------------------------------------------------------------------------


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x")
    return folder / "x"


def _linked(folder: Path) -> Path:
    (folder / "a").write_bytes(b"x")
    os.link(folder / "a", folder / "b")
    return folder / "a"


def _dangling(folder: Path) -> Path:
    (folder / "x").symlink_to("nowhere")
    return folder / "x"


def descriptors() -> set[str]:
    """The descriptors this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


UNOPENED: dict[str, tuple[Callable[[Path], Any], Reason, str]] = {
    "nothing": (lambda folder: folder / "none", Reason.NOT_FOUND, "does not exist"),
    "a dangling link": (_dangling, Reason.NOT_FOUND, "is a link to a file that does not exist"),
    "a folder": (lambda folder: folder, Reason.NOT_A_FILE, "not a regular file"),
    "a pipe": (_fifo, Reason.NOT_A_FILE, "not a regular file"),
    "a device": (lambda _: "/dev/null", Reason.NOT_A_FILE, "not a regular file"),
    "two names": (_linked, Reason.EXTERNAL_DATA, "2 hard links"),
    "a name with NUL": (lambda folder: f"{folder}/a\0b", Reason.NOT_FOUND, "cannot be opened"),
    "a name too long": (lambda folder: folder / ("x" * 300), Reason.NOT_FOUND, "cannot be opened"),
}


@pytest.mark.parametrize("name", UNOPENED)
def test_what_is_not_opened(tmp_path: Path, name: str) -> None:
    """With its reason, without waiting for a writer, and no descriptor stays open."""
    make, reason, words = UNOPENED[name]
    path = make(tmp_path)
    before = descriptors()
    with pytest.raises(Refusal, match=words) as refusal:
        open_file(path, single_link=True)
    assert refusal.value.reason == reason
    assert descriptors() == before


def test_two_names_are_no_fault_of_a_model(tmp_path: Path) -> None:
    """Only data files must have one: a model may be a hard link, as those of a cache of content are."""
    assert open_file(_linked(tmp_path)).size == 1


@pytest.mark.parametrize(("error", "reason"), [
    (PermissionError(13, "denied"), Reason.PERMISSION), (IsADirectoryError(21, "folder"), Reason.NOT_A_FILE),
    (OSError(5, "input/output error"), Reason.NOT_FOUND),
])  # fmt: skip
def test_what_the_system_refuses(monkeypatch: pytest.MonkeyPatch, error: OSError, reason: Reason) -> None:
    """Each of its errors has a reason of ours."""

    def refuse(*_: object) -> int:
        raise error

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Refusal) as refusal:
        open_file("model.onnx")
    assert refusal.value.reason == reason


# -- holes -------------------------------------------------------------------------------------------------------------


def hollow(folder: Path, blocks: int, written: set[int]) -> Path:
    """A file of so many blocks, only some of which were written."""
    path = folder / "hollow"
    with path.open("wb") as stream:
        stream.truncate(blocks * BLOCK)
        for block in sorted(written):
            stream.seek(block * BLOCK)
            stream.write(b"\1" * BLOCK)
    if path.stat().st_blocks * 512 != len(written) * BLOCK:
        pytest.skip("this file system has no holes of this size")
    return path


@pytest.mark.parametrize(
    ("written", "refused"),
    [
        (set(), True),
        ({0}, True),
        (set(range(7)), True),
        (set(range(8)), False),  # half of it is there
        (set(range(8, 16)), False),
        (set(range(9, 16)), True),
        (set(range(1, 16, 2)), False),
        ({1, 3, 5, 7, 9, 11, 15}, True),
        (set(range(16)), False),
    ],
)
def test_a_file_that_is_mostly_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: set[int], *, refused: bool
) -> None:
    """A download that reserved its space and stopped is not what it claims to be; below a size nobody looks."""
    path = hollow(tmp_path, 16, written)
    assert open_file(path).size == 16 * BLOCK
    monkeypatch.setattr(source, "HOLLOW", 16 * BLOCK)
    before = descriptors()
    if not refused:
        open_file(path).close()
        return
    with pytest.raises(Refusal, match="holes") as refusal:
        open_file(path)
    assert refusal.value.reason == Reason.TRUNCATED
    assert descriptors() == before
    monkeypatch.setattr(source, "HOLLOW", 16 * BLOCK + 1)
    assert open_file(path).size == 16 * BLOCK


@pytest.mark.parametrize("written", [set(), {0}, {2}, {0, 1, 5}, {1, 3, 15}, set(range(16))])
def test_bytes_outside_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: set[int]) -> None:
    """As many as the file system says it holds; of a file in too many pieces, or of a system that does not tell, all."""
    path = hollow(tmp_path, 16, written)
    with path.open("rb") as stream:
        held = os.fstat(stream.fileno()).st_blocks * 512
        assert source._written(stream.fileno(), 16 * BLOCK) == held
        monkeypatch.setattr(source, "MOST_EXTENTS", 1)
        assert source._written(stream.fileno(), 16 * BLOCK) in (
            {held} if written in (set(), set(range(16))) else {16 * BLOCK}
        )
        monkeypatch.delattr(os, "SEEK_DATA")
        assert source._written(stream.fileno(), 16 * BLOCK) == 16 * BLOCK


def test_a_gibibyte_of_nothing(tmp_path: Path) -> None:
    """The size from which a file is looked at; one byte less is not."""
    path = hollow(tmp_path, (1 << 30) // BLOCK, set())
    with pytest.raises(Refusal, match="holes"):
        open_file(path)
    os.truncate(path, (1 << 30) - 1)
    open_file(path).close()


def test_a_system_that_cannot_look_for_holes(tmp_path: Path) -> None:
    """A file system without them takes every byte for written: nothing is refused for it."""
    reading, writing = os.pipe()
    try:
        assert stat.S_ISFIFO(os.fstat(reading).st_mode)
        assert source._written(reading, 77) == 77
    finally:
        os.close(reading)
        os.close(writing)
    assert open_file(hollow(tmp_path, 4, {0, 1, 2, 3})).size == 4 * BLOCK
