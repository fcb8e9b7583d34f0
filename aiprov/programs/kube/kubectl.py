"""kubectl on a control plane, by its administrator's kubeconfig."""

import json
import os
import re
import time
from typing import Any, Callable, Dict, List, TypeVar

from . import host
from .host import COMMAND_S, PAUSE_S, Done, PassingError, RefusedError, tell

CACHE = "/run/aiprov/kubectl-cache"
ABSENT = "aiprov apply installs what a control plane needs"
UNANSWERED = "does the control plane's endpoint answer here? see: kubectl get --raw /readyz"
NOT_YET = re.compile(
    r"no matches for kind|ensure CRDs are installed|namespaces \"[^\"]*\" not found"
    r"|could not find the requested resource|cannot [a-z]+ resource|is being terminated"
    r"|failed calling webhook",
    re.IGNORECASE,
)
"""What others bring: kinds, namespaces, rights, webhooks that are being set up."""
PASSING = re.compile(
    r"too many requests|unable to handle the request|unable to return a response|etcdserver:"
    r"|rpc error:|no leader|not yet ready|internal_error|deadline exceeded|timed out"
    r"|\((ServerTimeout|Timeout|InternalError|ServiceUnavailable|TooManyRequests)\)"
    r"|connection refused|was refused|connection lost|reset by peer|broken pipe|client\.timeout"
    r"|handshake timeout|i/o timeout|no route to host|unreachable|request canceled|goaway"
    r"|temporary failure in name resolution|transport is closing|\bEOF\b",
    re.IGNORECASE,
)
"""What may be over in a moment: an API server starts, or its etcd is given another member and has
no leader until that one has come."""
SOON_S = 90 * PAUSE_S
"""How long what others bring is waited for: it may be a slip of the pen, and never come."""
PHASE_S = 60 * PAUSE_S
"""How long a phase of kubeadm's is run again where no API server answers it."""
Result = TypeVar("Result")


class NotYetError(PassingError):
    """What may be over when others have brought what is lacking."""


def use(config: str) -> None:
    """From now on ask the cluster of a kubeconfig. Raises ``RefusedError`` without one."""
    if not os.path.exists(config):
        raise RefusedError(
            f"there is no {config}: this host is no control plane of a cluster yet",
            "run it on a control plane that has joined",
        )
    os.environ.update(KUBECONFIG=config, LC_ALL="C")


def asking(*words: str) -> List[str]:
    """kubectl's command line."""
    return ["kubectl", "--cache-dir", CACHE, *words]


def kubectl(*words: str, stdin: str = "", timeout: float = COMMAND_S) -> Done:
    """What kubectl did, or could not do. Raises ``PassingError`` where it does not end in time."""
    return host.run(asking(*words), timeout, stdin, hint=UNANSWERED, absent=ABSENT)


def must(*words: str, timeout: float = COMMAND_S) -> Done:
    """What kubectl did. Raises ``RefusedError`` where it did not."""
    done = kubectl(*words, timeout=timeout)
    if done.rc != 0:
        raise refusal(done, f"kubectl {' '.join(words[:3])}: {done.said}", UNANSWERED)
    return done


def refusal(done: Done, message: str, hint: str) -> RefusedError:
    """The error for what kubectl or Helm could not do, by what it said."""
    if NOT_YET.search(done.err):
        return NotYetError(message, hint)
    return PassingError(message, hint) if PASSING.search(done.err) else RefusedError(message, hint)


def again(step: Callable[[], Result], deadline: float, say: Callable[[str], None] = tell) -> Result:
    """Take a step, again and again while what keeps it from being taken may be over in a moment.

    Raises what the last try raised when the time is over. ``say`` is given why, once each.
    """
    told, soon = "", time.monotonic() + SOON_S
    while True:
        try:
            return step()
        except PassingError as error:
            end = min(soon, deadline) if isinstance(error, NotYetError) else deadline
            if time.monotonic() > end:
                raise
            if str(error) != told:
                told = str(error)
                say(f"once more: {told}")
        time.sleep(PAUSE_S)


def kubeadm(*words: str, timeout: float = host.KUBEADM_S, hint: str = "") -> None:
    """Run kubeadm, which asks an API server for less than a second.

    Raises ``PassingError`` where what it says may be over in a moment, else ``RefusedError``.
    """
    try:
        host.kubeadm(*words, timeout=timeout, hint=hint)
    except RefusedError as error:
        if PASSING.search(str(error)):
            raise PassingError(str(error), error.hint) from error
        raise


def phase(*words: str) -> None:
    """Run a phase of kubeadm's that may be run twice, until an API server answers it."""
    again(lambda: kubeadm(*words), time.monotonic() + PHASE_S)


def get(*words: str) -> Dict[str, Any]:
    """Objects as JSON; empty where there is none. Raises ``RefusedError``."""
    return dict(json.loads(must("get", *words, "-o", "json").out or "{}"))
