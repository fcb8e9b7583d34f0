"""Two ways to the nodes of a cluster: kubectl on a control plane, and the API by a kubeconfig.

While etcd gets or loses a member no API server answers for a while: each question is put again for
a minute, unless what is answered is that it is refused. A change names the version of the node that
it is made to, so that one that was made and not answered is seen as a conflict.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from aiprov import patience
from aiprov.actions.kubernetes import ConflictError, Node, Nodes
from aiprov.connection import Connection
from aiprov.errors import HostError, UnreachableError, UsageError
from aiprov.inventory import Host, Inventory
from aiprov.survey.commands import run_argv
from aiprov.survey.transport import Completed, Transport

CONTROL_PLANE = "kube_control_plane"
ADMIN = "/etc/kubernetes/admin.conf"
ANSWER_S = 15.0
ASK_S = 60.0
_MERGE = "application/merge-patch+json"
_REFUSED = re.compile(
    r"\((BadRequest|Unauthorized|Forbidden|NotFound|MethodNotAllowed|NotAcceptable|AlreadyExists"
    r"|Gone|RequestEntityTooLarge|UnsupportedMediaType|Invalid)\)|x509: |no such host"
    r"|unknown (flag|command)"
)
"""What kubectl says of a question that has the same answer in a minute."""


class _AwayError(Exception):
    """The API is away, maybe for a moment; ``error`` is what a person is told."""

    def __init__(self, error: HostError) -> None:
        super().__init__(str(error))
        self.error = error


def patiently(question: Callable[[], patience.Answer]) -> patience.Answer:
    """Ask again while the API is away. Raises what a person is told when the time is over."""
    try:
        return patience.patiently(question, _AwayError)
    except _AwayError as away:
        raise away.error from away.error.__cause__


def nodes_of(
    inventory: Inventory, kubeconfig: Path | None, connect: Callable[[Connection], Transport]
) -> Nodes:
    """The nodes of the cluster that a kubeconfig or else the inventory's control planes lead to.

    Raises ``UsageError`` where there is neither, or the kubeconfig cannot be used.
    """
    if kubeconfig is not None:
        return ByApi(kubeconfig)
    group = inventory.groups.get(CONTROL_PLANE)
    planes = [host for host in inventory.everyone if group and host.name in group.members]
    if not planes:
        raise UsageError(
            f"which cluster? The inventory's group {CONTROL_PLANE} is empty",
            hint="name its control planes there, or give --kubeconfig FILE",
        )
    return ByControlPlane(planes, connect)


# ---------------------------------------------------------------- by a control plane


class ByControlPlane:
    """kubectl as the administrator, on the first control plane that answers."""

    def __init__(self, planes: Sequence[Host], connect: Callable[[Connection], Transport]) -> None:
        self._planes = list(planes)
        self._connect = connect
        self._open: Transport | None = None
        self._plane: Host | None = None

    @property
    def where(self) -> str:
        """Who is asked."""
        return self._plane.name if self._plane else ", ".join(one.name for one in self._planes)

    def all(self) -> list[Node]:
        """All nodes. Raises ``HostError`` with what each control plane said where none answers."""
        return patiently(self._all)

    def _all(self) -> list[Node]:
        reasons: list[HostError] = []
        away = False
        for plane in [self._plane] if self._plane else self._planes:
            try:
                done = self._kubectl(plane, "get", "nodes", "-o", "json")
                found: list[Node] = _read(plane.name, done.stdout)["items"]
            except _AwayError as error:
                away = True
                reasons.append(error.error)
            except HostError as error:
                reasons.append(error)
            else:
                return found
        kind = HostError
        if all(isinstance(one, UnreachableError) for one in reasons):
            kind = UnreachableError
        told = "; ".join(str(one) for one in reasons[1:])
        more = f"; {told}" if told else ""
        problem = kind(reasons[0].host, f"{reasons[0].message}{more}", hint=reasons[0].hint)
        raise _AwayError(problem) if away else problem

    def one(self, name: str) -> Node | None:
        """A node; ``None`` where there is none of this name."""
        done = self._run("get", "node", "--ignore-not-found", "-o", "json", "--", name)
        return _read(self.where, done.stdout) if done.stdout.strip() else None

    def patch(self, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into a node."""
        words = ("patch", "node", "--type", "merge", "-p", json.dumps(change), "--", name)
        self._run(*words)

    def close(self) -> None:
        """End the connection."""
        if self._open is not None:
            self._open.close()
        self._open = None

    def _run(self, *words: str) -> Completed:
        if self._plane is None:
            self.all()
        if self._plane is None:
            raise TypeError("a control plane that answered is known")
        plane = self._plane
        return patiently(lambda: self._kubectl(plane, *words))

    def _kubectl(self, plane: Host, *words: str) -> Completed:
        """What kubectl says there; the plane that answers is kept.

        Raises ``_AwayError`` where the API does not answer it, else ``HostError``.
        """
        if self._plane is not plane:
            self.close()
        if self._open is None:
            self._open = self._connect(plane.connection)
        limit = f"--request-timeout={ANSWER_S:g}s"
        argv = ("kubectl", "--kubeconfig", ADMIN, limit, *words)
        done = run_argv(self._open, plane.connection, argv, timeout_s=ASK_S)
        if done.rc != 0:
            raise _kubectl_failure(plane.name, done)
        self._plane = plane
        return done


def _kubectl_failure(host: str, done: Completed) -> Exception:
    said = done.stderr.decode("utf-8", "replace").strip()
    last = said.splitlines()[-1].strip() if said else f"kubectl ended with status {done.rc}"
    if "(Conflict)" in last:
        return ConflictError(last, hint="again")
    if done.rc == 127:
        return HostError(host, "there is no kubectl", hint=f"aiprov apply -l {host} puts it there")
    if "(Forbidden)" in last:
        return HostError(host, last, hint=f"the user of {ADMIN} needs get, list and patch on nodes")
    if "permission denied" in last:
        return HostError(host, last, hint=f"{ADMIN} is root's: become root with -b")
    if ADMIN in last and "no such file" in last:
        return HostError(
            host, f"it has no {ADMIN}, so it is no control plane yet",
            hint="aiprov cluster status shows how the cluster is",
        )  # fmt: skip
    told = HostError(host, last, hint="does the API answer there? see: aiprov cluster status")
    return told if _REFUSED.search(last) else _AwayError(told)


def _read(where: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise HostError(
            where, "kubectl gave no answer that can be read",
            hint="does a login script write to the terminal?",
        ) from error  # fmt: skip


# ---------------------------------------------------------------- by a kubeconfig


class ByApi:
    """The API itself, as the user of a kubeconfig's current context."""

    def __init__(self, path: Path) -> None:
        self._path = path
        cluster, user = _context(path)
        parts = urlsplit(str(cluster.get("server", "")))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{path}: server {cluster.get('server')!r} is no address of an API")
        self._where = f"{parts.scheme}://{parts.hostname}:{parts.port or ''}".rstrip(":")
        self._base = parts.path.rstrip("/")
        self._heads = {"Accept": "application/json", "User-Agent": "aiprov"}
        token = _token(path, user)
        if token:
            self._heads["Authorization"] = f"Bearer {token}"
        self._line: http.client.HTTPConnection
        if parts.scheme == "https":
            self._line = http.client.HTTPSConnection(
                parts.hostname, parts.port or 443, timeout=ANSWER_S,
                context=_trust(path, cluster, user),
            )  # fmt: skip
        else:
            self._line = http.client.HTTPConnection(
                parts.hostname, parts.port or 80, timeout=ANSWER_S
            )

    @property
    def where(self) -> str:
        """The API's address."""
        return self._where

    def all(self) -> list[Node]:
        """All nodes."""
        status, found = self._ask("GET", "/api/v1/nodes")
        if status != 200:
            raise self._refused(status, found, "list nodes")
        return list(found.get("items") or ())

    def one(self, name: str) -> Node | None:
        """A node; ``None`` where there is none of this name."""
        status, found = self._ask("GET", f"/api/v1/nodes/{quote(name, safe='')}")
        if status == 404:
            return None
        if status != 200:
            raise self._refused(status, found, f"get node {name}")
        return found

    def patch(self, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into a node."""
        path = f"/api/v1/nodes/{quote(name, safe='')}?fieldManager=aiprov"
        status, found = self._ask("PATCH", path, change)
        if status == 409:
            raise ConflictError(str(found.get("message")), hint="again")
        if status != 200:
            raise self._refused(status, found, f"patch node {name}")

    def close(self) -> None:
        """End the connection."""
        self._line.close()

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and what is answered. Raises ``HostError``."""
        what = f"{method.lower()} {path.partition('?')[0]}"

        def question() -> tuple[int, dict[str, Any]]:
            status, found = self._once(method, path, body)
            if status >= 500 or status == 429:
                raise _AwayError(self._refused(status, found, what))
            return status, found

        return patiently(question)

    def _once(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        sent = None if body is None else json.dumps(body).encode()
        heads = {**self._heads, **({"Content-Type": _MERGE} if body is not None else {})}
        try:
            self._line.request(method, self._base + path, sent, heads)
            answer = self._line.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._line.close()
            told = UnreachableError(
                self.where, f"the API is not reached: {error or type(error).__name__}",
                hint=f"is it reached from here? kubectl --kubeconfig {self._path} get nodes",
            )  # fmt: skip
            lasting = isinstance(error, ssl.SSLCertVerificationError | socket.gaierror)
            raise (told if lasting else _AwayError(told)) from error
        try:
            return answer.status, dict(json.loads(data))
        except (ValueError, TypeError) as error:
            text = data[:200].decode("utf-8", "replace")
            if answer.status != 200:
                return answer.status, {"message": text}
            raise HostError(
                self.where, f"{path} is not answered in JSON: {text!r}",
                hint=f"does {self._path} lead to an API server, and not to a proxy's page?",
            ) from error  # fmt: skip

    def _refused(self, status: int, found: Mapping[str, Any], what: str) -> HostError:
        said = str(found.get("message") or "").strip() or f"status {status}"
        hints = {
            401: f"{self._path} is not accepted: has its certificate or token expired?",
            403: "the user needs the verbs get, list and patch on nodes",
            404: f"{self.where} is not the API of a Kubernetes cluster",
        }
        hint = hints.get(status, "does the API server answer? kubectl get --raw /readyz")
        return HostError(self.where, f"{what}: {status}: {said}", hint=hint)


def _context(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cluster and user of the current context. Raises ``UsageError``."""
    hint = "give a kubeconfig with --kubeconfig FILE; aiprov kubeconfig -o FILE makes one"
    try:
        text = path.read_text(encoding="utf-8")
        told = yaml.safe_load(text)
        named = {
            kind: {one["name"]: one[kind] or {} for one in told[f"{kind}s"]}
            for kind in ("context", "cluster", "user")
        }
        chosen = named["context"][told["current-context"]]
        return dict(named["cluster"][chosen["cluster"]]), dict(named["user"][chosen["user"]])
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no kubeconfig with a current context", hint=hint) from error


def _token(path: Path, user: Mapping[str, Any]) -> str | None:
    if user.get("tokenFile"):
        return _near(path, user["tokenFile"]).decode("utf-8", "replace").strip()
    if user.get("token"):
        return str(user["token"])
    if user.get("exec") or user.get("auth-provider"):
        raise UsageError(
            f"{path}: its user logs in by another program, which is not run here",
            hint="give one with a certificate or a token: aiprov kubeconfig, kubectl create token",
        )
    return None


def _trust(path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    """Whom to believe, and as whom to speak. Keys touch the disk only in a file of mode 0600."""
    try:
        context = ssl.create_default_context()
        ca = _part(path, cluster, "certificate-authority")
        if ca is not None:
            context = ssl.create_default_context(cadata=ca.decode("ascii"))
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        certificate = _part(path, user, "client-certificate")
        key = _part(path, user, "client-key")
        if certificate is not None and key is not None:
            descriptor, name = tempfile.mkstemp(prefix="aiprov-", suffix=".pem")
            try:
                with os.fdopen(descriptor, "wb") as out:
                    out.write(certificate.rstrip() + b"\n" + key)
                context.load_cert_chain(name)
            finally:
                Path(name).unlink()
    except (ssl.SSLError, ValueError, binascii.Error) as error:
        raise UsageError(
            f"{path}: its certificates cannot be used: {error}",
            hint="aiprov kubeconfig -o FILE makes one that can",
        ) from error
    return context


def _part(path: Path, about: Mapping[str, Any], name: str) -> bytes | None:
    if about.get(f"{name}-data"):
        return base64.b64decode(about[f"{name}-data"], validate=True)
    return _near(path, about[name]) if about.get(name) else None


def _near(path: Path, name: str) -> bytes:
    """A file that the kubeconfig names, as kubectl finds it: beside the kubeconfig."""
    try:
        return (path.parent / name).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {name}: {error.strerror}", hint="is it all there?") from error
