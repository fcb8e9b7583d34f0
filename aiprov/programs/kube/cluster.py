"""Asking a cluster: its API servers, by kubeconfig, and its etcd members.

An API server lives where one answers in HTTP over TLS with a certificate of the cluster's
authority, whatever it answers: a load balancer takes connections without anything behind it. Names
are not compared, since each is asked by its own address, and the authority signs for this cluster
only.
"""

import base64
import calendar
import http.client
import json
import os
import re
import socket
import ssl
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from .host import PAUSE_S, PKI, RUN, RefusedError, place, read

ASK_S = 4
"""How long one question may take."""
PATIENCE_S = 120

MERGE = "application/merge-patch+json"
ETCD_CLIENT = f"{PKI}/etcd/healthcheck-client"
ETCD_CLIENT_PORT = 2379


class UnansweredError(Exception):
    """No answer, and why."""


class StrangerError(UnansweredError):
    """Something answers that is not of this cluster."""


class Credential(NamedTuple):
    """What a kubeconfig says: the API server, its authority and the client's own certificate."""

    host: str
    port: int
    ca: str
    certificate: str
    key: str


def credential(text: str, what: str) -> Credential:
    """A kubeconfig as kubeadm, kubelet and aiprov write it: YAML with a key and its value a line.

    Raises ``RefusedError`` for one that lacks something.
    """

    def value(key: str) -> str:
        found = re.search(rf"^[\s-]*{key}-data:\s*[\"']?([A-Za-z0-9+/=]+)", text, re.MULTILINE)
        if found:
            return base64.b64decode(found.group(1)).decode()
        file = re.search(rf"^[\s-]*{key}:\s*[\"']?([^\s\"']+)", text, re.MULTILINE)
        return read(file.group(1)) if file else ""

    server = re.search(r"^[\s-]*server:\s*[\"']?(https://[^\s\"']+)", text, re.MULTILINE)
    ca, certificate, key = (
        value(name) for name in ("certificate-authority", "client-certificate", "client-key")
    )
    if not server or not ca or not certificate or not key:
        raise RefusedError(
            f"{what} is no kubeconfig with a server, an authority and a client certificate",
            "if the host is to join anew: aiprov cluster reset -l HOST, then run aiprov again"
            if what.startswith("/")
            else "run aiprov apply for this host again",
        )
    parts = urlsplit(server.group(1))
    return Credential(parts.hostname or "", parts.port or 443, ca, certificate, key)


def split(endpoint: str) -> Tuple[str, int]:
    """Host and port of ``k8s.example.org:6443`` or ``[fd00::1]:6443``."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def shown(host: str, port: int) -> str:
    """An address and a port as people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# ---------------------------------------------------------------- certificates


def validity(pem: str) -> Tuple[float, float]:
    """From when until when a certificate is valid, in seconds since 1970. Raises ``ValueError``."""
    start = pem.find("-----BEGIN CERTIFICATE-----")
    end = pem.find("-----END CERTIFICATE-----", start)
    if start < 0 or end < 0:
        raise ValueError("it holds no certificate")
    der = ssl.PEM_cert_to_DER_cert(pem[start : end + len("-----END CERTIFICATE-----")] + "\n")
    at = _inside(der, _inside(der, 0))  # the first field of what is signed
    if der[at] == 0xA0:  # the version, which may be left out
        at = _after(der, at)
    for _ in ("serial number", "algorithm", "issuer"):
        at = _after(der, at)
    begin = _inside(der, at)
    return _moment(der, begin), _moment(der, _after(der, begin))


def _header(der: bytes, at: int) -> Tuple[int, int]:
    """Where a DER value begins, and how long it is."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2, length
    count = length & 0x7F
    return at + 2 + count, int.from_bytes(der[at + 2 : at + 2 + count], "big")


def _inside(der: bytes, at: int) -> int:
    return _header(der, at)[0]


def _after(der: bytes, at: int) -> int:
    begin, length = _header(der, at)
    return begin + length


def _moment(der: bytes, at: int) -> float:
    begin, length = _header(der, at)
    text = der[begin : begin + length].decode("ascii").rstrip("Z")
    if der[at] == 0x17:  # UTCTime: two digits of the year, from 1950 on
        text = ("19" if text[:2] >= "50" else "20") + text
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%S"))


# ---------------------------------------------------------------- connections


def context(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """For connections to what the authority signed. Raises ``RefusedError`` for no such PEM."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    try:
        made.load_verify_locations(cadata=ca)
        if certificate:
            with _secret_file(f"{certificate}\n{key}\n") as path:
                made.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise RefusedError(f"a certificate or key cannot be read: {error}") from error
    return made


@contextmanager
def _secret_file(text: str) -> Iterator[str]:
    """Python reads client certificates from files only: one in memory that is gone at once."""
    os.makedirs(place(RUN), mode=0o700, exist_ok=True)
    descriptor, path = tempfile.mkstemp(dir=place(RUN))
    try:
        with open(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        yield path
    finally:
        os.unlink(path)


def ask(
    host: str,
    port: int,
    path: str,
    trust: ssl.SSLContext,
    method: str = "GET",
    body: Optional[Dict[str, Any]] = None,
    kind: str = "application/json",
) -> Tuple[int, bytes]:
    """The status and what is answered. Raises ``UnansweredError``, or ``StrangerError``."""
    limit = ASK_S / found_addresses(host)
    connection = http.client.HTTPSConnection(host, port, timeout=limit, context=trust)
    text = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, text, {"Content-Type": kind, "Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ssl.SSLError as error:
        if getattr(error, "reason", "") == "CERTIFICATE_VERIFY_FAILED":
            raise StrangerError(getattr(error, "verify_message", str(error))) from error
        raise UnansweredError(str(error)) from error
    except socket.timeout as error:
        raise UnansweredError(f"no answer in {ASK_S} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnansweredError(getattr(error, "strerror", "") or str(error) or "cut off") from error
    finally:
        connection.close()


def found_addresses(host: str) -> int:
    """How many addresses a name has, each of which is tried. Raises ``UnansweredError``.

    Looking up a name takes as long as the host's resolver likes, which no timeout here ends.
    """
    found: List[Any] = []

    def look() -> None:
        try:
            found.extend(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except OSError:
            found.append(None)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(ASK_S)
    if None in found or not found:
        raise UnansweredError(f"the name {host} has no address that is found in {ASK_S} s")
    return len(found)


def plain(host: str, port: int, path: str) -> int:
    """The status that is answered in HTTP without TLS. Raises ``UnansweredError``."""
    connection = http.client.HTTPConnection(host, port, timeout=ASK_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise UnansweredError(getattr(error, "strerror", "") or str(error) or "cut off") from error
    finally:
        connection.close()


def port_state(host: str, port: int) -> str:
    """Whether something listens: ``open``, ``refused`` (nothing does), or why it cannot be told."""
    try:
        with socket.create_connection((host, port), timeout=ASK_S):
            return "open"
    except ConnectionRefusedError:
        return "refused"
    except socket.timeout:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)


# ---------------------------------------------------------------- the API


class Api:
    """An API server, asked with a credential; at another address than its own, if one is given.

    ``patience``: for how many seconds ``must`` and ``node`` ask again where it has no answer, as
    all API servers have none for a while when etcd gets a member.
    """

    def __init__(self, who: Credential, host: str = "", port: int = 0, patience: float = 0) -> None:
        self.who = who
        self.patience = patience
        self.host = host or who.host
        self.port = port or who.port
        self.trust = context(who.ca, who.certificate, who.key)

    def __str__(self) -> str:
        return shown(self.host, self.port)

    def ask(
        self, path: str, method: str = "GET", body: Optional[Dict[str, Any]] = None
    ) -> Tuple[int, Dict[str, Any]]:
        """The status and the answered document. Raises ``UnansweredError``."""
        kind = MERGE if method == "PATCH" else "application/json"
        status, text = ask(self.host, self.port, path, self.trust, method, body, kind)
        try:
            found = json.loads(text.decode(errors="replace"))
        except ValueError:
            found = {"message": text.decode(errors="replace").strip()}
        return status, found if isinstance(found, dict) else {}

    def must(
        self, path: str, method: str = "GET", body: Optional[Dict[str, Any]] = None
    ) -> Dict[str, Any]:
        """What is answered with success. Raises ``RefusedError`` for anything else."""
        status, found = self.answer(path, method, body)
        if status >= 300:
            raise RefusedError(
                f"the API server at {self} answers {method} {path} with {status}: {said(found)}"
            )
        return found

    def answer(
        self, path: str, method: str = "GET", body: Optional[Dict[str, Any]] = None
    ) -> Tuple[int, Dict[str, Any]]:
        """An answer that is no failure of the server's. Raises ``RefusedError`` if none comes.

        A cluster that has just begun lets nobody in until its roles are bound, so 403 counts only
        when it stays.
        """
        end = time.monotonic() + self.patience
        while True:
            try:
                status, found = self.ask(path, method, body)
                late = time.monotonic() >= end
                if status < 500 and (late or status != 403) and status != 429:
                    return status, found
                trouble = f"answers with {status}: {said(found)}"
            except UnansweredError as error:
                trouble = f"does not answer: {error}"
            if time.monotonic() >= end:
                raise RefusedError(
                    f"the API server at {self} {trouble}",
                    "crictl ps -a on the control planes tells why; then run aiprov again",
                )
            time.sleep(PAUSE_S)

    def node(self, name: str) -> Dict[str, Any]:
        """The Node of that name; empty where there is none. Raises as ``must`` does."""
        status, found = self.answer(f"/api/v1/nodes/{name}")
        if status == 404:
            return {}
        if status in (401, 403):
            raise RefusedError(
                f"the cluster at {self} does not accept this host's credential ({status})",
                "the cluster was made with other secrets, or the credential is old: run aiprov "
                "again, with the secrets file that the cluster was made with",
            )
        if status >= 300:
            raise RefusedError(f"{self} answers with {status}: {said(found)}")
        return found

    def version(self) -> str:
        """The API server's version (``1.36.4``). Raises ``RefusedError``."""
        return str(self.must("/version")["gitVersion"]).lstrip("v").partition("-")[0]


def said(answer: Dict[str, Any]) -> str:
    """What an API server says of an error."""
    return str(answer.get("message") or answer.get("status") or "nothing")


def alive(host: str, port: int, ca: str) -> int:
    """The status that an API server answers ``/livez`` with; 0 where none answers.

    Raises ``StrangerError`` for one that is not of this cluster.
    """
    try:
        return ask(host, port, "/livez", context(ca))[0]
    except StrangerError:
        raise
    except UnansweredError:
        return 0


def is_ready(node: Dict[str, Any]) -> bool:
    """Whether a Node is Ready."""
    conditions = node.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def addresses(node: Dict[str, Any]) -> List[str]:
    """A Node's own addresses."""
    found = node.get("status", {}).get("addresses") or []
    return [one["address"] for one in found if one["type"] in ("InternalIP", "ExternalIP")]


# ---------------------------------------------------------------- etcd


class Etcd:
    """An etcd member, asked over its gateway with a client certificate of this host.

    Source: etcd.io/docs v3.4 and v3.6, dev-guide/api_grpc_gateway (read 2026-11-21).
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.trust = context(
            read(f"{PKI}/etcd/ca.crt"), read(f"{ETCD_CLIENT}.crt"), read(f"{ETCD_CLIENT}.key")
        )

    def _post(self, path: str, body: Dict[str, Any]) -> Dict[str, Any]:
        status, text = ask(self.address, ETCD_CLIENT_PORT, path, self.trust, "POST", body)
        if status != 200:
            raise UnansweredError(f"{status} {text.decode(errors='replace')[:200]}")
        return dict(json.loads(text.decode()))

    def members(self) -> List[Dict[str, Any]]:
        """All members: ``ID``, ``peerURLs``; ``name`` once started; ``isLearner``."""
        return list(self._post("/v3/cluster/member/list", {}).get("members") or [])

    def remove(self, member: Dict[str, Any]) -> None:
        """Take a member out of the cluster."""
        self._post("/v3/cluster/member/remove", {"ID": member["ID"]})

    def healthy(self) -> bool:
        """Whether it has a leader and can be written to."""
        try:
            status, text = ask(self.address, ETCD_CLIENT_PORT, "/health", self.trust)
        except UnansweredError:
            return False
        return status == 200 and json.loads(text.decode()).get("health") in ("true", True)


def member_address(member: Dict[str, Any]) -> str:
    """Where a member is, by its peer URL."""
    return urlsplit((member.get("peerURLs") or [""])[0]).hostname or ""
