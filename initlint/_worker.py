"""The worker process: reads requests from its standard input, analyses, writes frames to its standard output."""

import os
import sys
from typing import IO, Any

__all__: list[str] = []

PIPE = 1 << 16  # bytes that a pipe takes at once
SPARE = 512  # MB of address space beyond the memory limit before an allocation fails


def main() -> None:
    """Serve requests until the pipe closes."""
    megabytes, parent = int(sys.argv[1]), int(sys.argv[2])
    # Libraries print to file descriptor 1 as they please; the frames go through a descriptor they do not know.
    frames = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    _restrict(megabytes, parent)
    requests = sys.stdin.buffer
    if len(sys.argv) > 3 and not _confined(requests, frames):
        os._exit(0)
    from initlint import serving  # noqa: PLC0415 - the limits hold before anything is imported

    serving.prepare()
    while request := _read(requests):
        serving.serve(request, lambda kind, content: _write(frames, kind, content))
    os._exit(0)  # nothing to save: interpreter shutdown would only cost time


def _confined(requests: IO[bytes], frames: IO[bytes]) -> bool:
    """Enter the cage that the parent describes first, and say which of it holds. False where it is required and is not had."""
    from initlint import sandbox  # noqa: PLC0415 - not every worker is confined

    cage = sandbox.Cage.from_bytes(_read(requests))
    held = sandbox.confine(cage)
    _write(frames, b"I", ", ".join(held).encode())
    if not cage.required or set(sandbox.FULL) <= set(held):
        return True
    missing = ", ".join(name for name in sandbox.FULL if name not in held)
    refusal = (
        f'{{"reason": "isolation", "message": "this system does not give {missing}; --require-isolation asks for it"}}'
    )
    while _read(requests):
        _write(frames, b"E", refusal.encode())
    return False


def _read(stream: IO[bytes]) -> bytes:
    head = stream.read(9)
    return stream.read(int.from_bytes(head[1:], "little")) if len(head) == 9 else b""


def _write(stream: IO[bytes], kind: bytes, content: bytes) -> None:
    head = kind + len(content).to_bytes(8, "little")
    # At once where that copies little: each write wakes the reader.
    for piece in (head + content,) if len(content) <= PIPE else (head, content):
        view = memoryview(piece)
        while view:
            view = view[stream.write(view) :]


def _restrict(megabytes: int, parent: int) -> None:
    """Limit memory, leave no core file, and die with the parent."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    limit = (megabytes + SPARE) << 20
    for name, value in (("RLIMIT_CORE", 0), ("RLIMIT_DATA", limit)):
        number: Any = getattr(resource, name, None)
        try:
            resource.setrlimit(number, (value, value))
        except (ValueError, OSError, TypeError):
            continue  # a lower limit is in force already, or the system has none: the parent watches all the same
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - numpy imports it anyway

        set_parent_death_signal, kill = 1, 9
        ctypes.CDLL(None).prctl(set_parent_death_signal, kill, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main()
