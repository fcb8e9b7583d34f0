"""Turns: control planes join, change and are upgraded one after the other, by a Lease.

Whoever has it renews it. One that is not renewed for ``STALE_S``, by the watching host's own clock,
is nobody's any more: its holder was killed. The holder itself takes it up again at once.
"""

import os
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Dict, Iterator

from .cluster import Api, UnansweredError, said
from .host import RefusedError, tell, wait

STALE_S = float(os.environ.get("AIPROV_TEST_STALE_S", "120"))
RENEW_S = STALE_S / 6
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
NAME = "aiprov-control-plane"


class Turn:
    """The Lease as one host sees it."""

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self.seen = ("", 0.0)  # what was last seen of another's, and when first
        self.holder = ""
        self.refused = 0.0  # when it was first refused, of late
        self.trouble = "nobody has said whose turn it is"
        self.over = threading.Event()

    def take(self) -> bool:
        """Take it, if it is free. Raises ``RefusedError`` where the API server does not let us."""
        try:
            status, found = self.api.ask(f"{LEASES}/{NAME}")
            if status == 404:
                return self._put("POST", LEASES, {})
            if status >= 300:
                raise self._refusal(status, found, "read")
            self.refused = 0.0
            self.holder = found.get("spec", {}).get("holderIdentity") or ""
            if self.holder in ("", self.name) or self._stale(found):
                return self._put("PUT", f"{LEASES}/{NAME}", found["metadata"])
        except UnansweredError as error:
            self.trouble = str(error)
            self.seen = ("", 0.0)  # whoever has it could not renew it either
        return False

    def _refusal(self, status: int, found: Dict[str, Any], verb: str) -> Exception:
        """Why it could not be had: for the moment, or for good.

        etcd may have no leader for a while. In a cluster that has just begun, the administrators'
        group may do nothing until its rights are bound, and kube-system is not there at once.
        """
        text = f"the Lease {NAME} cannot be {verb} ({status}): {said(found)}"
        if status >= 500 or status == 429:
            return UnansweredError(text)
        if status in (403, 404):
            self.refused = self.refused or time.monotonic()
            if time.monotonic() - self.refused < self.api.patience:
                return UnansweredError(text)
        return RefusedError(
            text,
            "the administrator's certificate that this host made is not accepted: the "
            "cluster was made with other secrets",
        )

    def _stale(self, lease: Dict[str, Any]) -> bool:
        version = str(lease["metadata"]["resourceVersion"])
        if self.seen[0] != version:
            self.seen = (version, time.monotonic())
        return time.monotonic() - self.seen[1] >= STALE_S

    def _put(self, method: str, path: str, metadata: Dict[str, Any], free: bool = False) -> bool:
        """Write it; false where another was faster."""
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: Dict[str, Any] = {"leaseDurationSeconds": int(STALE_S) or 1, "renewTime": now}
        if not free:
            spec["holderIdentity"] = self.name
        kept = {"name": NAME, "namespace": "kube-system"}
        if metadata.get("resourceVersion"):
            kept["resourceVersion"] = metadata["resourceVersion"]
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": kept,
            "spec": spec,
        }
        status, found = self.api.ask(path, method, body)
        if status == 409:
            return False
        if status >= 300:
            raise self._refusal(status, found, "written")
        return True

    def renew(self) -> None:
        """Renew it until it is over. An API server that is away for a while is asked again."""
        while not self.over.wait(RENEW_S):
            try:
                if not self.take() and self.holder not in ("", self.name):
                    tell(f"the turn was lost to {self.holder}: this host did not renew it in time")
                    return
            except RefusedError as error:
                tell(f"the Lease {NAME} could not be renewed, trying again: {error}")

    def release(self) -> str:
        """Give it back; why not, if that fails: it then becomes stale by itself."""
        try:
            status, found = self.api.ask(f"{LEASES}/{NAME}")
            if status == 200 and found.get("spec", {}).get("holderIdentity") == self.name:
                self._put("PUT", f"{LEASES}/{NAME}", found["metadata"], free=True)
        except (UnansweredError, RefusedError) as error:
            return str(error)
        return ""


@contextmanager
def turn(api: Api, name: str, wait_s: float) -> Iterator[None]:
    """Have the turn within. Raises ``RefusedError`` where it does not come in time."""
    one = Turn(api, name)
    if not wait(one.take, f"this host's turn (the Lease {NAME} in kube-system)", wait_s):
        why = f"it is the turn of {one.holder}" if one.holder else one.trouble
        raise RefusedError(
            f"this host's turn did not come in {wait_s:g} s: {why}",
            f"see what {one.holder or 'the API server'} does, and run aiprov again; "
            f"kubectl -n kube-system get lease {NAME}",
        )
    tell(f"it is this host's turn (the Lease {NAME})")
    thread = threading.Thread(target=one.renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        one.over.set()
        thread.join()
        why = one.release()
        if why:
            tell(f"the Lease {NAME} could not be given back, others wait {STALE_S:g} s: {why}")
