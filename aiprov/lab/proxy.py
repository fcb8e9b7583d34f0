"""The hosts' way to packages: a small caching proxy on the lab's bridge.

Hosts have no route off the bridge. They ask this proxy, which serves Debian's archives as named in
this machine's apt sources and nothing else. It keeps what it fetched, so a second host or a second
lab installs from disk; it speaks https to the mirror where the machine does, so hosts need no
certificates; and when the mirror is away it serves what it has. The lab's own stand-in repositories
are served at its own address.
"""

from __future__ import annotations

import hashlib
import json
import os
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiprov.lab import daemon
from aiprov.lab.machine import replace
from aiprov.lab.sources import Source, debian, plain_http
from aiprov.lab.state import Folder, locked
from aiprov.lab.vendor import served

PORT = 3142
_FRESH = 300.0  # seconds for which an index is taken from disk without asking
_FAILS = {429, *range(500, 600)}
_NEVER_CHANGES = ("/by-hash/", "/pool/")


class Store:
    """Fetched files by address. Several proxies may share one: files appear whole or not at all."""

    def __init__(self, folder: Path, upstream: dict[str, str]) -> None:
        self.folder = folder
        self.upstream = upstream  # address as hosts write it -> address as the machine has it
        folder.mkdir(parents=True, exist_ok=True)

    def origin(self, address: str) -> str | None:
        """Where to fetch an address from, or None where hosts may not go."""
        if ".." in address or "%2e" in address.lower():
            return None
        for prefix, real in self.upstream.items():
            if address.startswith(f"{prefix}/"):
                return real + address[len(prefix) :]
        return None

    def get(self, address: str) -> tuple[Path, dict[str, str]]:
        """The file of an address and its headers; raises urllib's errors."""
        name = hashlib.sha256(address.encode()).hexdigest()
        body, head = self.folder / name, self.folder / f"{name}.json"
        with locked(self.folder / f".{name[:2]}.lock"):
            kept = _kept(body, head)
            if kept is not None:
                age = time.time() - body.stat().st_mtime
                lasting = any(mark in address for mark in _NEVER_CHANGES)
                if lasting or age < _FRESH:
                    return body, kept
            try:
                return body, self._fetch(address, body, head)
            except (OSError, HTTPException) as error:
                if kept is None or not _may_pass(error):
                    raise
                return body, kept

    def _fetch(self, address: str, body: Path, head: Path) -> dict[str, str]:
        origin = self.origin(address)
        if origin is None:
            raise PermissionError(address)
        scratch = body.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            with urllib.request.urlopen(origin, timeout=60) as answer, scratch.open("wb") as out:  # noqa: S310
                while block := answer.read(1 << 18):
                    out.write(block)
                kept = {
                    key: answer.headers[key]
                    for key in ("Last-Modified", "Content-Type")
                    if answer.headers[key]
                }
                expected = answer.headers["Content-Length"]
            if expected is not None and scratch.stat().st_size != int(expected):
                raise OSError(f"{origin}: the mirror closed the connection early")
            scratch.replace(body)
            replace(head, json.dumps(kept))
            return kept
        finally:
            scratch.unlink(missing_ok=True)


def _kept(body: Path, head: Path) -> dict[str, str] | None:
    """The headers of a file that was fetched before; ``None`` where it was not, or half."""
    try:
        return dict(json.loads(head.read_text(encoding="utf-8"))) if body.exists() else None
    except (FileNotFoundError, ValueError):
        return None


def _may_pass(error: Exception) -> bool:
    """Whether it is the mirror that fails, and not the address that has nothing."""
    return not isinstance(error, urllib.error.HTTPError) or error.code in _FAILS


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for allowed addresses."""

    protocol_version = "HTTP/1.1"
    store: Store
    own_address = ""  # as hosts write it
    stand_ins: Path | None = None  # what the lab says of its own archives

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_CONNECT(self) -> None:
        self._refuse(403, "this proxy serves package archives only")

    def _answer(self, *, with_body: bool) -> None:
        own = self._own_path()
        if own is not None:
            self._answer_own(own, with_body=with_body)
            return
        if self.store.origin(self.path) is None:
            self._refuse(
                403, f"not one of the lab's package archives: {urlsplit(self.path).netloc}"
            )
            return
        try:
            body, headers = self.store.get(self.path)
        except urllib.error.HTTPError as error:
            self._refuse(error.code, error.reason)
            return
        except (OSError, HTTPException) as error:
            self._refuse(502, f"the mirror does not answer: {error}")
            return
        if self._unchanged(headers):
            self.send_response(304)
            self.end_headers()
            return
        self._send(body, headers, with_body=with_body)

    def _own_path(self) -> str | None:
        """The path of a request that is for this machine itself, and not to be passed on."""
        if self.path.startswith("/"):
            return self.path
        prefix = f"http://{self.own_address}/"
        return self.path[len(prefix) - 1 :] if self.path.startswith(prefix) else None

    def _answer_own(self, path: str, *, with_body: bool) -> None:
        """A file of the stand-in repositories. It has no date: what is published later is older."""
        found = served.find(self.stand_ins, path) if self.stand_ins is not None else None
        if found is None:
            self._refuse(404, f"not in the lab's stand-in repositories: {path}")
        else:
            self._send(found, {}, with_body=with_body)

    def _send(self, body: Path, headers: dict[str, str], *, with_body: bool) -> None:
        with body.open("rb") as content:
            self.send_response(200)
            self.send_header("Content-Length", str(os.fstat(content.fileno()).st_size))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.flush()
                self.connection.sendfile(content)

    def _unchanged(self, headers: dict[str, str]) -> bool:
        asked, known = self.headers["If-Modified-Since"], headers.get("Last-Modified")
        if not asked or not known:
            return False
        try:
            return parsedate_to_datetime(asked) >= parsedate_to_datetime(known)
        except ValueError:
            return False

    def _refuse(self, code: int, reason: str) -> None:
        text = f"{reason}\n".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        sys.stderr.write(f"{self.client_address[0]} {format % args}\n")


class QuietHandler(Handler):
    def log_message(self, format: str, *args: Any) -> None:
        """Building a base says only that it does."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True


def server(
    address: tuple[str, int],
    archives: Iterable[Source],
    store: Path,
    handler: type[Handler] = Handler,
) -> Server:
    upstream = {plain_http(source.uri): source.uri for source in archives}
    handler.store = Store(store, upstream)
    return Server(address, handler)


@contextmanager
def serving(archives: Iterable[Source], store: Path) -> Iterator[str]:
    """A proxy on the loopback for the time of building a base; yields its address."""
    with server(("127.0.0.1", 0), archives, store, QuietHandler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()


def main(arguments: list[str]) -> int:
    """The proxy of a lab: ``python -m aiprov.lab.proxy FOLDER STORE SUITE…``."""
    folder = Folder(Path(arguments[0]))
    held = daemon.claim(folder, folder.proxy)
    if held is None:
        return 1
    archives = [source for suite in arguments[2:] for source in debian(suite)]
    own = (folder.network().gateway, PORT)
    Handler.own_address, Handler.stand_ins = f"{own[0]}:{own[1]}", folder.vendor
    with server(own, archives, Path(arguments[1])) as running:
        running.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
