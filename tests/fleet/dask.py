"""A Dask scheduler and its workers on this machine, as processes that can be killed."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.commandline import environment

__all__ = ["Cluster"]

DASK = (sys.executable, "-m", "dask")
FAST = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "0",
}  # fmt: skip


class Cluster:
    """A scheduler and its workers; each can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = self.begin_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []

    def begin_scheduler(self) -> "subprocess.Popen[bytes]":
        """A scheduler at this cluster's address."""
        return self._begin("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show")

    def begin_worker(self, **more: str) -> None:
        """One more worker with one thread."""
        arguments = ("worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        self.workers.append(self._begin(*arguments, "--local-directory", str(self.folder), **more))

    def wait(self) -> None:
        """Until the scheduler listens."""
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def end(self) -> None:
        """Kill everything."""
        for process in (*self.workers, self.scheduler):
            process.kill()
        for process in (*self.workers, self.scheduler):
            process.wait()

    def _begin(self, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / "log").open("ab")
        with log:
            return subprocess.Popen(
                [*DASK, *arguments], stdout=log, stderr=log, cwd=self.folder, env=environment(**FAST, **more)
            )
