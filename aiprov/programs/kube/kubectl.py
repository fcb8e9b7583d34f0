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
PASSING = re.compile(
    r"no matches for kind|ensure CRDs are installed|namespaces \"[^\"]*\" not found"
    r"|cannot [a-z]+ resource|is being terminated|failed calling webhook|too many requests"
    r"|unable to handle the request|unable to return a response|etcdserver:|rpc error:"
    r"|\((ServerTimeout|Timeout|InternalError|ServiceUnavailable)\)|deadline exceeded|timed out"
    r"|connection refused|was refused|connection lost|reset by peer|broken pipe|client\.timeout"
    r"|handshake timeout|i/o timeout|no route to host|unreachable|request canceled|goaway"
    r"|transport is closing|\bEOF\b",
    re.IGNORECASE,
)
"""What may be over in a moment: kinds, roles and webhooks that are being set up, an API that
starts, or whose etcd is given another member and has no leader until that one has come."""
Result = TypeVar("Result")


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
    passing = PASSING.search(done.err)
    return PassingError(message, hint) if passing else RefusedError(message, hint)


def again(step: Callable[[], Result], deadline: float, say: Callable[[str], None] = tell) -> Result:
    """Take a step, again and again while what keeps it from being taken may be over in a moment.

    Raises what the last try raised when the time is over. ``say`` is given why, once each.
    """
    told = ""
    while True:
        try:
            return step()
        except PassingError as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != told:
                told = str(error)
                say(f"once more: {told}")
        time.sleep(PAUSE_S)


def get(*words: str) -> Dict[str, Any]:
    """Objects as JSON; empty where there is none. Raises ``RefusedError``."""
    return dict(json.loads(must("get", *words, "-o", "json").out or "{}"))
