"""A stand-in API server that knows nodes: GET, merge PATCH, versions, conflicts and refusals."""

from __future__ import annotations

import copy
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Api:
    """Nodes by name. ``refusal``: status and message of every answer; ``away``: statuses of the
    next answers, 0 for none at all; ``unheard``: how many patches are made and not answered;
    ``beaten``: how many patches somebody else is quicker than; ``patches``: what was asked for."""

    def __init__(self, *names: str) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.refusal: tuple[int, str] | None = None
        self.garbage = False
        self.away: list[int] = []
        self.unheard = 0
        self.beaten = 0
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.logins: list[str] = []
        self.version = 100
        for name in names:
            self.add(name)

    def add(self, name: str, **spec: Any) -> None:
        self.version += 1
        about = {"name": name, "resourceVersion": str(self.version), "uid": "u"}
        self.nodes[name] = {"metadata": about, "spec": spec, "status": {}}

    def spec(self, name: str) -> dict[str, Any]:
        """Without what the API leaves out as well."""
        return {key: value for key, value in self.nodes[name]["spec"].items() if value}

    def annotations(self, name: str) -> dict[str, str]:
        return self.nodes[name]["metadata"].get("annotations") or {}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        if self.away:
            return self.away.pop(0), {"kind": "Status", "message": "etcdserver: no leader"}
        if self.refusal is not None:
            return self.refusal[0], {"kind": "Status", "message": self.refusal[1]}
        words = [unquote(word) for word in urlsplit(path).path.split("/") if word]
        if words == ["api", "v1", "nodes"]:
            return 200, {"kind": "NodeList", "items": list(self.nodes.values())}
        if words[:3] != ["api", "v1", "nodes"] or words[3] not in self.nodes:
            return 404, {"kind": "Status", "message": f'nodes "{words[-1]}" not found'}
        name = words[3]
        if method == "PATCH":
            if self.beaten:
                self.beaten -= 1
                self._touch(name)
            wanted = body.get("metadata", {}).pop("resourceVersion", None)
            if wanted not in (None, self.nodes[name]["metadata"]["resourceVersion"]):
                said = (
                    f'Operation cannot be fulfilled on nodes "{name}": the object has been '
                    "modified; please apply your changes to the latest version and try again"
                )
                return 409, {"kind": "Status", "reason": "Conflict", "message": said}
            self.patches.append((name, copy.deepcopy(body)))
            merged(self.nodes[name], body)
            self._touch(name)
            if self.unheard:
                self.unheard -= 1
                return 0, {}
        return 200, self.nodes[name]

    def _touch(self, name: str) -> None:
        self.version += 1
        self.nodes[name]["metadata"]["resourceVersion"] = str(self.version)


def merged(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            merged(target[key], value)
        else:
            target[key] = value


@contextmanager
def served(api: Api, trust: ssl.SSLContext | None = None) -> Iterator[str]:
    """The API's address, as long as it answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(size)
            who = self.headers.get("Authorization") or ""
            if trust is not None:
                subject = self.connection.getpeercert()["subject"]  # type: ignore[attr-defined]
                who = ",".join(value for part in subject for _, value in part)
            api.logins.append(who)
            if self.command == "PATCH":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
            status, found = api.answer(self.command, self.path, json.loads(text or b"{}"))
            if status == 0:
                self.close_connection = True
                return
            data = b"<html>hello" if api.garbage else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if trust is not None:
        server.socket = trust.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"{'https' if trust else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
