"""What a worker does with one request: analyse in this process, and turn whatever happens into frames."""

import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from initlint.config import Config, Loaded
from initlint.errors import Reason, Refusal
from initlint.text import one_line

if TYPE_CHECKING:
    from initlint.isolation import Progress

__all__ = ["Request", "Wants", "serve"]

Wants: TypeAlias = Literal["report", "record", "identity", "status", "locations"]


class Request(msgspec.Struct, frozen=True):
    """One model to analyse. Paths are bytes: a file name need not be text."""

    path: bytes
    root: bytes
    config: Config
    wants: Wants = "report"
    started: float | None = None  # of the monotonic clock, which processes share: when the deadline began to run


def prepare() -> None:
    """Import what an analysis needs while the parent still reads its settings; a fault waits for the first request."""
    with suppress(Exception):
        from initlint import checking  # noqa: F401, PLC0415 - as said
        from initlint.analysis import analyse  # noqa: F401, PLC0415
        from initlint.operators import load  # noqa: PLC0415

        load()


def serve(request: bytes, send: Callable[[bytes, bytes], None]) -> None:
    """Answer one request after progress on the way, or with a refusal.

    A `report` comes with its facts, a `record` without: a store keeps none. `identity` and `status` are the cache's and the
    scan's words for what a model is, `locations` those of its data files that may be fetched.
    """
    try:
        from initlint.checking import analyse_here  # noqa: PLC0415 - a fault while importing becomes an answer, too

        asked = msgspec.json.decode(request, type=Request)
        watch = _telling(send, deadlines_only=asked.wants == "record")
        if asked.wants not in {"report", "record"}:
            send(b"R", msgspec.json.encode(_asked_of_files(os.fsdecode(asked.path), asked.wants, watch)))
            return
        loaded = Loaded(asked.config, {}, Path(os.fsdecode(asked.root)))
        report = analyse_here(os.fsdecode(asked.path), loaded, watch, asked.started)
        if asked.wants == "report":
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


def _telling(send: Callable[[bytes, bytes], None], *, deadlines_only: bool) -> "Callable[[Progress], None]":
    """What sends progress on; where nobody watches, only what moves the deadline."""
    told = (0, 0)

    def tell(step: "Progress") -> None:
        nonlocal told
        if deadlines_only and (step.nodes, step.size) == told and not step.seconds:
            return
        told = (step.nodes, step.size)
        send(b"P", msgspec.json.encode(step))

    return tell


def _asked_of_files(path: str, wants: str, watch: "Callable[[Progress], None]") -> object:
    """What is asked of the files of a model, not of the network in them."""
    from initlint.cache import identity_of, status_of  # noqa: PLC0415 - only where reports are kept, or models scanned
    from initlint.fleet.content import fetchable_in  # noqa: PLC0415 - as above

    if wants == "identity":
        return identity_of(path, watch)
    return status_of(path) if wants == "status" else fetchable_in(path)


def _refuse(send: Callable[[bytes, bytes], None], reason: Reason, message: str) -> None:
    send(b"E", msgspec.json.encode({"reason": str(reason), "message": message.encode(errors="replace").decode()}))
