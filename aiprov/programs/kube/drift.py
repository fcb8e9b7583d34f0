"""Where a cluster's objects are not as wanted, by what server-side apply would make of them.

The API server itself is asked, by a dry run: only it knows what its defaults and its own ways of
writing a value are. It is asked over one connection, since kubectl takes a second for ten objects,
and the question is put at every survey.
Source: kubernetes.io server-side-apply and dry-run (read 2026-11-21).
"""

import http.client
import json
import re
import socket
import ssl
from typing import Any, Dict, Iterator, List, Optional, Tuple
from urllib.parse import quote

from .cluster import context, credential
from .host import RefusedError

ANSWER_S = 5
APPLY = "application/apply-patch+yaml"
PASSING = (
    "status",
    "metadata.annotations.deprecated.daemonset.template.generation",
    *(f"metadata.{name}" for name in ("generation", "managedFields", "resourceVersion", "uid")),
)
"""What the server says of an object, which is not what anybody wants of it."""

SECRET = re.compile(r"\bkind\W{1,8}Secret\b")
"""An object that is a Secret, or has one anywhere in it, as JSON or in a text."""

Object = Dict[str, Any]


class Unanswered(Exception):  # noqa: N818 - it is told as what differs, or as a refusal
    """The API does not say what an object would be; ``certain``: and will not, as things are."""

    def __init__(self, message: str, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


def refused(status: int, message: str) -> Unanswered:
    """The error for an answer. Rights may have to be read first by an API server that starts."""
    return Unanswered(message, certain=400 <= status < 500 and status not in (403, 429))


class Server:
    """The API that a kubeconfig leads to, over one connection."""

    def __init__(self, config: str) -> None:
        who = credential(config, "the kubeconfig")
        self.trust = context(who.ca, who.certificate, who.key)
        self.where = (who.host, who.port)
        self.line: Optional[http.client.HTTPSConnection] = None
        self.kinds: Dict[str, Dict[str, Tuple[str, bool]]] = {}

    def ask(self, method: str, path: str, body: Optional[Object] = None) -> Tuple[int, Object]:
        """The status and the document. Raises ``Unanswered``."""
        text = None if body is None else json.dumps(body).encode()
        heads = {"Accept": "application/json", **({"Content-Type": APPLY} if body else {})}
        try:
            if self.line is None:
                self.line = http.client.HTTPSConnection(
                    *self.where, timeout=ANSWER_S, context=self.trust
                )
            self.line.request(method, path, text, heads)
            answer = self.line.getresponse()
            return answer.status, dict(json.loads(answer.read().decode()))
        except (OSError, ssl.SSLError, socket.timeout, http.client.HTTPException) as error:
            raise Unanswered(f"{self.where[0]}:{self.where[1]}: {error}") from error
        except (ValueError, TypeError) as error:
            raise Unanswered(f"{method} {path} is not answered in JSON") from error

    def path(self, found: Object) -> str:
        """Where an object is. Raises ``Unanswered`` for one of a kind that is not there (yet)."""
        version = found["apiVersion"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self.kinds:
            status, known = self.ask("GET", base)
            if status not in (200, 404):
                why = f"{base} is answered with {status}: {known.get('message')}"
                raise refused(status, why)
            self.kinds[version] = {
                one["kind"]: (one["name"], one["namespaced"])
                for one in known.get("resources") or []
                if "/" not in one["name"]
            }
        if found["kind"] not in self.kinds[version]:
            raise Unanswered(f"the cluster has no kind {found['kind']} of {version}", certain=True)
        plural, namespaced = self.kinds[version][found["kind"]]
        about = found["metadata"]
        where = f"/namespaces/{about.get('namespace', 'default')}" if namespaced else ""
        return f"{base}{where}/{plural}/{quote(about['name'], safe='')}"

    def now(self, found: Object) -> Optional[Object]:
        """The object as it is; None where it is not."""
        path = self.path(found)
        status, there = self.ask("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise refused(status, f"{path} is answered with {status}: {there.get('message')}")
        return there

    def then(self, found: Object) -> Object:
        """The object as it would be, were it applied."""
        path = f"{self.path(found)}?dryRun=All&fieldManager=aiprov&force=true"
        status, made = self.ask("PATCH", path, found)
        if status not in (200, 201):
            raise refused(status, f"{status}: {made.get(spoken(found)) or 'refused'}")
        return made


def is_secret(found: Any) -> bool:
    """Whether there is a Secret anywhere in an object."""
    return SECRET.search(json.dumps(found)) is not None


def spoken(found: Any) -> str:
    """Which part of the API's answer may be shown: its message may hold the value of a secret."""
    return "reason" if is_secret(found) else "message"


def differences(server: Server, found: Object) -> List[str]:
    """Where an object is not as wanted. Raises ``RefusedError`` where the API does not say."""
    try:
        now = server.now(found)
        if now is None:
            return ["is not there"]
        return list(unlike(now, server.then(found), is_secret([now, found])))
    except Unanswered as error:
        if error.certain:
            return [str(error)]
        raise RefusedError(
            f"{found['kind']} {found['metadata']['name']}: {error}",
            "see: kubectl get --raw /readyz",
        ) from error


def unlike(now: Any, then: Any, secret: bool, path: str = "") -> Iterator[str]:
    """Where two objects differ in what is wanted of them; without the values of secrets."""
    if now == then or path in PASSING:
        return
    if isinstance(now, dict) and isinstance(then, dict):
        for key in sorted({*now, *then}):
            where = f"{path}.{key}" if path else key
            yield from unlike(now.get(key), then.get(key), secret, where)
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for number, (one, other) in enumerate(zip(now, then)):
            yield from unlike(one, other, secret, f"{path}[{number}]")
    elif secret:
        yield f"{path} is another one"
    else:
        yield f"{path} is {json.dumps(now)}, not {json.dumps(then)}"
