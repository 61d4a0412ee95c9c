"""What a worker does with one request: analyse in this process, and turn whatever happens into frames."""

import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from initlint.config import Config, Loaded
from initlint.errors import Reason, Refusal
from initlint.text import one_line

__all__ = ["Request", "serve"]


class Request(msgspec.Struct, frozen=True):
    """One model to analyse. Paths are bytes: a file name need not be text."""

    path: bytes
    root: bytes
    config: Config
    wants: Literal["report", "content", "identity", "status"] = "report"
    started: float | None = None  # of the monotonic clock, which processes share: when the deadline began to run


def prepare() -> None:
    """Import what an analysis needs while the parent still reads its settings; a fault waits for the first request."""
    with suppress(Exception):
        from initlint import checking  # noqa: F401, PLC0415 - as said
        from initlint.analysis import analyse  # noqa: F401, PLC0415
        from initlint.operators import load  # noqa: PLC0415

        load()


def serve(request: bytes, send: Callable[[bytes, bytes], None]) -> None:
    """Answer one request: the facts and the report after progress on the way, or the content's hash, or a refusal."""
    try:
        from initlint.checking import analyse_here  # noqa: PLC0415 - a fault while importing becomes an answer, too

        asked = msgspec.json.decode(request, type=Request)
        if asked.wants == "content":
            from initlint.fleet.content import content_of  # noqa: PLC0415 - only a scan asks for it

            send(b"R", msgspec.json.encode(content_of(os.fsdecode(asked.path))))
            return
        watch = lambda step: send(b"P", msgspec.json.encode(step))  # noqa: E731 - a name for two lines below
        if asked.wants != "report":
            from initlint.cache import identity_of, status_of  # noqa: PLC0415 - only where reports are kept

            path = os.fsdecode(asked.path)
            send(b"R", msgspec.json.encode(status_of(path) if asked.wants == "status" else identity_of(path, watch)))
            return
        loaded = Loaded(asked.config, {}, Path(os.fsdecode(asked.root)))
        report = analyse_here(os.fsdecode(asked.path), loaded, watch, asked.started)
        send(b"F", report.facts.serialize())
        send(b"R", report.to_json())
    except Refusal as refusal:
        _refuse(send, refusal.reason, refusal.message)
    except MemoryError:
        _refuse(send, Reason.MEMORY, "the analysis ran out of memory; --memory allows more")
    except RecursionError:
        _refuse(send, Reason.TOO_DEEP, "the model nests too deep")
    except Exception as error:  # noqa: BLE001 - a fault of ours is a reason code for this model, not the worker's end
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - text only
        if os.environ.get("INITLINT_DEBUG"):
            traceback.print_exception(error)
        _refuse(send, Reason.CRASH, f"fault in initlint itself: {type(error).__name__} at {place}: {one_line(error)}")


def _refuse(send: Callable[[bytes, bytes], None], reason: Reason, message: str) -> None:
    send(b"E", msgspec.json.encode({"reason": str(reason), "message": message.encode(errors="replace").decode()}))
