"""A cluster made up for the kube programs: an authority, API servers, etcd members, kubelets."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority of a cluster."""

    def __init__(self, text: str = "kubernetes") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(text, self.key.public_key(), 3650, ca=True)

    def _sign(self, text: str, key: Any, days: float, ca: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name(text))
            .issuer_name(name(text) if ca else self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def signed(self, text: str, days: float = 1) -> tuple[str, str]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(text, key.public_key(), days)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()

    def kubeconfig(self, server: str, user: str, days: float = 1) -> str:
        """One as kubeadm and aiprov write it."""
        certificate, key = self.signed(user, days)

        def data(text: str) -> str:
            return base64.b64encode(text.encode()).decode()

        return f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {data(self.pem)}
    server: https://{server}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: {user}
  name: {user}@kubernetes
current-context: {user}@kubernetes
kind: Config
users:
- name: {user}
  user:
    client-certificate-data: {data(certificate)}
    client-key-data: {data(key)}
"""


STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
"""What an API server answers that does not do what it is asked, with a message."""


class Objects:
    """What the API servers of a cluster have in common, kept by path."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.lock = threading.Lock()
        self.version = "v1.36.4"
        self.broken: dict[str, int] = {}  # the status by the path

    def node(self, called: str, address: str, *, ready: bool = True, **labels: str) -> None:
        """A Node that is there."""
        self.kept[f"/api/v1/nodes/{called}"] = {
            "metadata": {"name": called, "resourceVersion": "1", "labels": labels},
            "spec": {},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "nodeInfo": {"kubeletVersion": self.version},
            },
        }

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        status, found = self._answer(method, path, body)
        return status, found if status < 300 else {**STATUS, "code": status, **found}

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            self.asked.append(f"{method} {path}")
            if path in self.broken:
                return self.broken[path], {"message": "broken"}
            if path in ("/livez", "/readyz", "/healthz"):
                return 200, {}
            if path == "/version":
                return 200, {"gitVersion": self.version}
            return getattr(self, f"do_{method.lower()}")(path, body)

    def do_get(self, path: str, _: Any) -> tuple[int, Any]:
        found = self.kept.get(path)
        return (200, found) if found else (404, {"message": f"{path} not found"})

    def do_post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        where = f"{path}/{body['metadata']['name']}"
        if where in self.kept:
            return 409, {"message": "already exists"}
        return 201, self._keep(where, body)

    def do_put(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if body["metadata"]["resourceVersion"] != self.kept[path]["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified"}
        return 200, self._keep(path, body)

    def do_delete(self, path: str, _: Any) -> tuple[int, Any]:
        return (200, {}) if self.kept.pop(path, None) else (404, {"message": "not found"})

    def do_patch(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        def merged(base: Any, patch: Any) -> Any:
            if not isinstance(patch, dict):
                return patch
            base = dict(base) if isinstance(base, dict) else {}
            for key, value in patch.items():
                if value is None:
                    base.pop(key, None)
                else:
                    base[key] = merged(base.get(key), value)
            return base

        return 200, self._keep(path, merged(self.kept[path], body))

    def _keep(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        version = int(self.kept.get(path, body)["metadata"].get("resourceVersion", "0")) + 1
        body["metadata"]["resourceVersion"] = str(version)
        self.kept[path] = body
        return body


class Members:
    """What etcd members know of each other. ``sick``: those without which they have no leader."""

    def __init__(self) -> None:
        self.list: list[dict[str, Any]] = []
        self.sick: set[str] = set()

    def add(self, called: str, address: str, *, started: bool = True) -> None:
        member = {"ID": str(10**18 + len(self.list)), "peerURLs": [f"https://{address}:2380"]}
        self.list.append({**member, "name": called} if started else member)

    def answer(self, _: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/health" and self.sick:
            return 503, {"health": "false"}
        if path == "/v3/cluster/member/list":
            return 200, {"members": self.list}
        if path == "/v3/cluster/member/remove":
            self.list = [one for one in self.list if one["ID"] != body["ID"]]
            return 200, {"members": self.list}
        return 200, {"health": "true"}


class Server:
    """Something that answers in HTTP at an address, with TLS where an authority is given."""

    def __init__(self, folder: Path, where: tuple[str, int], answer: Any,
                 authority: Authority | None = None) -> None:  # fmt: skip
        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                status, document = answer(self.command, self.path, body)
                text = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.do)
        self.http = ThreadingHTTPServer(where, Handler)
        self.http.daemon_threads = True
        if authority:
            path = folder / f"{where[0]}-{where[1]}.pem"
            path.write_text("".join(authority.signed("server")))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            self.http.socket = context.wrap_socket(
                self.http.socket, server_side=True, do_handshake_on_connect=False
            )
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
