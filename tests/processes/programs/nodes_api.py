"""A cluster's API that knows Nodes: HTTPS with client certificates, lists in pages, watches."""

from __future__ import annotations

import ipaddress
import json
import queue
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PAGE = 2
"""Nodes a page: a third one is on the second."""


class Authority:
    """Signs the API server's certificate and the kubelet's."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._made("authority", self.key.public_key(), "authority")

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def signed(self, name: str) -> str:
        """A certificate with its key, in one text, as the kubelet keeps its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        made = self._made(name, key.public_key(), "authority")
        return (made.public_bytes(serialization.Encoding.PEM) + private).decode()

    def _made(self, name: str, key: Any, issuer: str) -> x509.Certificate:
        now = datetime.now(UTC)
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(issuer))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([here]), critical=False)
            .add_extension(x509.BasicConstraints(name == issuer, None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def node(name: str, cidr: str, *addresses: str) -> dict[str, Any]:
    """A Node as the API gives it."""
    return {
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": item} for item in addresses]},
    }


class Api:
    """What the server knows and does. ``events`` go to the one who watches; ``None`` ends that.

    ``closes``: each connection after its answer, as some load balancers do.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.may_list = True
        self.closes = False
        self.asked: list[str] = []
        self.clients: list[str] = []

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if path != "/api/v1/nodes":
            found = self.nodes.get(path.rpartition("/")[2])
            return (200, found) if found else (404, {"message": "not found"})
        if not self.may_list:
            return 403, {"message": "nodes is forbidden"}
        begin = int(query.get("continue", ["0"])[0])
        page = list(self.nodes.values())[begin : begin + PAGE]
        more = {"continue": str(begin + PAGE)} if begin + PAGE < len(self.nodes) else {}
        return 200, {"metadata": {"resourceVersion": "100", **more}, "items": page}


def handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.asked.append(self.path)
            subject = self.connection.getpeercert()["subject"]
            api.clients.append(subject[0][0][1])
            where = urlsplit(self.path)
            query = parse_qs(where.query)
            if "watch" in query:
                self._watch()
                return
            status, document = api.answer(where.path, query)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if api.closes:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def _watch(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while (event := api.events.get()) is not None:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def served(api: Api, authority: Authority, folder: Path, port: int = 0) -> Iterator[int]:
    """The API at a port of 127.0.0.1."""
    pem = folder / "server.pem"
    pem.write_text(authority.signed("kube-apiserver"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(cadata=authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    server = ThreadingHTTPServer(("127.0.0.1", port), handler(api))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
