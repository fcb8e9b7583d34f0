"""What is laid on every node of a Kubernetes cluster: joining it, keeping it, leaving it.

A package, since its programs ask the same API servers and wait for the same things: ``kube-node``
(``node``), ``kube-life`` (``life``), ``kube-reset`` (``reset``), ``kube-etcd`` (``etcd``) and
``kube-certificates``; of control planes also ``kube-admin`` (``addons``) with ``kube-cluster``
(``all_nodes``), ``kube-chart`` (``charts``) and ``kube-manifest`` (``manifest``). As the other
programs it is standard-library Python 3.6 that imports nothing of aiprov. Verbs exit with 0 for
yes or done, with 1 for no and one line for each thing that differs on standard output, and with 2
for refused or failed, with the message and then ``hint: …`` on standard error.
"""

import traceback
from typing import Callable, List


def ended(run: Callable[[List[str]], int], words: List[str]) -> int:
    """A program's exit status. A defect of it is no answer: Python's own status would say no."""
    try:
        return run(words)
    except Exception:  # noqa: BLE001  whatever it is, it is told and counts as a failure
        traceback.print_exc()
        return 2
