"""An S3 server on this machine, moto's, with a word before each object that is sent."""

import os
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

__all__ = ["Store"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Quiet(WSGIRequestHandler):
    """A server that says nothing of its requests."""

    def log(self, *arguments: object) -> None:
        """Nothing."""


class Store:
    """An S3 server. `before` is called with the key before an object is sent; `sent` counts the sendings."""

    def __init__(self) -> None:
        self.application: Application = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.sent: Counter[str] = Counter()
        self.before: Callable[[str], None] | None = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def user(self, key: str = "testing", secret: str = "testing") -> dict[str, str]:  # noqa: S107 - the server asks for none
        """The environment of a user with these credentials."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_MAX_ATTEMPTS": "1",
        }  # fmt: skip

    def client(self, service: str = "s3") -> Any:
        """A client of the server that may do everything."""
        user = self.user()
        return boto3.client(
            service, endpoint_url=self.url, aws_access_key_id=user["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=user["AWS_SECRET_ACCESS_KEY"], region_name=user["AWS_DEFAULT_REGION"],
        )  # fmt: skip

    @contextmanager
    def asking(self) -> Iterator[None]:
        """In the block it asks everybody who they are; outside, nobody."""
        try:
            self._ask_after("0")
            yield
        finally:
            self._ask_after("inf")

    def _ask_after(self, requests: str) -> None:
        address, kind = f"{self.url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        asks = urllib.request.Request(address, requests.encode(), kind)  # noqa: S310 - our own server
        urllib.request.urlopen(asks).close()  # noqa: S310 - as above

    def fill(self, bucket: str, folder: Path) -> None:
        """A bucket with the files below a folder."""
        client = self.client()
        client.create_bucket(Bucket=bucket)
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            client.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())

    def _answer(self, environ: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        if (
            environ["REQUEST_METHOD"] == "GET"
            and "list-type" not in environ["QUERY_STRING"]
            and not environ.get("HTTP_RANGE")
        ):
            key = environ["PATH_INFO"].lstrip("/").partition("/")[2]
            self.sent[key] += 1
            if self.before is not None:
                self.before(key)
        return self.application(environ, begin)
