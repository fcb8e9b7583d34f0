"""The nodes of a cluster, from one of its control planes.

    kube-cluster nodes [--pods]  what each is, and how many pods it has, as JSON
    kube-cluster health          what is not well with API, etcd, control planes and nodes, as JSON
    kube-cluster version         versions of API, cluster, kubeadm and kubectl, as JSON
    kube-cluster drain NAME      no pod is left on it but those that belong to it
    kube-cluster uncordon NAME   it takes pods again, if it was ``drain`` that stopped that
    kube-cluster delete NAME     it is no node, and no member of etcd, any more

Draining evicts: a PodDisruptionBudget is kept, and what is still there when the time is over is
named with the budget that keeps it. A node that somebody else has cordoned stays so: ``drain``
remembers in an annotation that it was its own doing. Nodes that are gone are no failure.

While etcd is given a member or loses one, no API server answers for a while: each is asked again
for ``--patience`` seconds. Where it is still away, the exit status is 75.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from datetime import datetime, timezone
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import host
from .host import ADMIN, PAUSE_S, Done, PassingError, RefusedError, refused, tell
from .kubectl import PASSING, again, asking, must, use

CORDONED = "aiprov.io/cordoned"
ROLE = "node-role.kubernetes.io/"
PLANES = ("control-plane", "master")
"""How nodes of control planes are labelled, from 1.20 on and until 1.23."""
GPUS = "nvidia.com/"
ASK_S = 5
REQUEST_S = 15
TRY_S = 40
"""How long a request may take, and a command of several: one that hangs is not all of the time."""
PATIENCE = {"health": 20, "version": 0}
"""By the verb, where it is not a minute. Who asks ``version`` has other control planes to ask."""
AWAY = 75
"""The exit status where the API is away, maybe for a moment: EX_TEMPFAIL of sysexits.h."""


def until(asked: Any) -> float:
    """By when an answer has to be there."""
    return time.monotonic() + float(asked.patience)


def found(end: float, *words: str) -> Dict[str, Any]:
    """Objects as JSON; empty where there is none. Raises ``RefusedError``."""
    return dict(json.loads(answer(end, "get", *words, "-o", "json") or "{}"))


def answer(end: float, *words: str, limit: float = REQUEST_S) -> str:
    """What kubectl answers, asked again as long as it may come to. Raises ``RefusedError``."""
    argv = (*words, f"--request-timeout={limit:g}s")
    # Why it is asked again is not told: what is told here is the answer.
    return again(lambda: must(*argv, timeout=TRY_S), end, lambda _: None).out


def change(end: float, *words: str) -> None:
    """Have kubectl do what may be done twice. Raises ``RefusedError``."""
    again(lambda: must(*words, timeout=TRY_S), end)


def show(document: Dict[str, Any]) -> int:
    tell(json.dumps(dict(document, format_version=1), sort_keys=True))
    return 0


def etcd(*words: str) -> Done:
    """What the program that looks after etcd said."""
    return host.run([sys.executable, "-B", host.beside("kube-etcd"), *words], 120)


# ---------------------------------------------------------------- what is


def condition(found: Dict[str, Any], kind: str) -> Dict[str, Any]:
    """A condition of a node or pod."""
    known = [one for one in found["status"].get("conditions", []) if one["type"] == kind]
    return known[0] if known else {"status": "Unknown", "message": "it has never been ready"}


def roles(node: Dict[str, Any]) -> List[str]:
    """``control-plane`` and ``worker``: what takes pods is a worker, whatever else it is."""
    labels = node["metadata"].get("labels", {})
    named = {label[len(ROLE) :] for label in labels if label.startswith(ROLE)}
    found = ["control-plane"] if named & set(PLANES) else []
    kept = {one["key"][len(ROLE) :] for one in node["spec"].get("taints", [])}
    return found if found and kept & set(PLANES) else [*found, "worker"]


def described(node: Dict[str, Any], pods: Optional[Dict[str, int]]) -> Dict[str, Any]:
    name, status = node["metadata"]["name"], node["status"]
    ready = condition(node, "Ready")
    offered = status.get("allocatable", {}).items()
    addresses = [one["address"] for one in status.get("addresses", []) if one["type"] != "Hostname"]
    return {
        "name": name,
        "ready": ready["status"] == "True",
        "reason": "" if ready["status"] == "True" else ready.get("message", ""),
        "schedulable": not node["spec"].get("unschedulable", False),
        "cordoned_by_aiprov": CORDONED in node["metadata"].get("annotations", {}),
        "roles": roles(node),
        "version": status["nodeInfo"]["kubeletVersion"].lstrip("v"),
        "runtime": status["nodeInfo"].get("containerRuntimeVersion", ""),
        "address": addresses[0] if addresses else "",
        "gpus": {key: int(n) for key, n in offered if key.startswith(GPUS) and n.isdigit()},
        "pods": None if pods is None else pods.get(name, 0),
    }


def nodes(asked: Any) -> int:
    end = until(asked)
    pods = None  # type: Optional[Dict[str, int]]
    if asked.pods:
        every = "jsonpath={range .items[*]}{.spec.nodeName}{'\\n'}{end}"
        alive = "status.phase!=Succeeded,status.phase!=Failed"
        pods = {}
        chosen = ("get", "pods", "-A", "--field-selector", alive, "-o", every)
        for name in answer(end, *chosen).split():
            pods[name] = pods.get(name, 0) + 1
    servers = api_versions(end)
    known = [described(one, pods) for one in found(end, "nodes")["items"]]
    return show({"nodes": [dict(one, api_version=servers.get(one["name"])) for one in known]})


def api_versions(end: float) -> Dict[str, str]:
    """The version of the API server on each control plane, by the tag of its image."""
    chosen = ("pods", "-n", "kube-system", "-l", "component=kube-apiserver")
    versions = {}
    for pod in found(end, *chosen).get("items", []):
        tag = re.search(r":v(\d+\.\d+\.\d+)", pod["spec"]["containers"][0]["image"])
        if tag:
            versions[pod["spec"]["nodeName"]] = tag.group(1)
    return versions


def version(asked: Any) -> int:
    end = until(asked)
    told = json.loads(answer(end, "version", "-o", "json", limit=ASK_S))
    about = found(end, "configmap", "kubeadm-config", "-n", "kube-system", "--ignore-not-found")
    config = about.get("data", {}).get("ClusterConfiguration", "")
    recorded = re.search(r"^kubernetesVersion: v?(\S+)$", config, re.MULTILINE)
    kubeadm = host.run(["kubeadm", "version", "-o", "short"])
    return show(
        {
            "api": told["serverVersion"]["gitVersion"].lstrip("v"),
            "kubectl": told["clientVersion"]["gitVersion"].lstrip("v"),
            "kubeadm": kubeadm.out.strip().lstrip("v") if kubeadm.rc == 0 else None,
            "cluster": recorded.group(1) if recorded else None,
        }
    )


def health(asked: Any) -> int:
    """What is asked for is told as a problem where it is not to be had."""
    try:
        answer(until(asked), "get", "--raw", "/readyz", limit=ASK_S)
    except RefusedError as error:
        problem = {"what": "API", "why": str(error)}
        return show({"healthy": False, "problems": [problem], "etcd": []})
    problems = []  # type: List[Dict[str, str]]
    asked_etcd = etcd("members")
    members = json.loads(asked_etcd.out)["members"] if asked_etcd.rc == 0 else []
    if asked_etcd.rc != 0:
        problems.append({"what": "etcd", "why": asked_etcd.err.partition("\nhint: ")[0]})
    for member in members:
        if not member["healthy"]:
            problems.append({"what": f"etcd {member['name']}", "why": member["reason"]})
    try:
        problems += unwell(until(asked))
    except RefusedError as error:
        problems.append({"what": "API", "why": str(error)})
    return show({"healthy": not problems, "problems": problems, "etcd": members})


def unwell(end: float) -> Iterator[Dict[str, str]]:
    """The control planes' pods and the nodes that are not ready."""
    chosen = ("pods", "-n", "kube-system", "-l", "tier=control-plane")
    for pod in found(end, *chosen).get("items", []):
        if condition(pod, "Ready")["status"] != "True":
            why = condition(pod, "Ready").get("message") or pod["status"].get("phase", "")
            yield {"what": f"pod {pod['metadata']['name']}", "why": why}
    for one in found(end, "nodes")["items"]:
        about = described(one, None)
        if not about["ready"]:
            yield {"what": f"node {about['name']}", "why": about["reason"]}


# ---------------------------------------------------------------- drain and uncordon


def node(end: float, name: str) -> Optional[Dict[str, Any]]:
    there = found(end, "node", name, "--ignore-not-found")
    return there if there.get("kind") == "Node" else None


def drain(asked: Any) -> int:
    end = until(asked)
    there = node(end, asked.name)
    if there is None:
        tell(f"{asked.name} is no node of the cluster")
        return 0
    if not there["spec"].get("unschedulable", False):
        # Noted first: a run that is killed in between leaves a node that uncordon frees.
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        change(end, "annotate", "node", asked.name, "--overwrite", f"{CORDONED}={now}")
        change(end, "cordon", asked.name)
    tell(f"drain {asked.name}, for at most {asked.timeout} s")
    said = evicted(asked)
    if not said:
        return 0
    if not asked.bare_pods and any("use --force to override" in line for line in said):
        raise RefusedError(
            f"{asked.name} is not drained: {said[-1]}",
            "nothing makes such pods again: delete them, or let them be deleted: --bare-pods",
        )
    try:
        why = "; ".join(remaining(until(asked), asked.name)) or said[-1]
    except RefusedError:  # that nobody tells what is left is not why it failed
        why = said[-1]
    raise RefusedError(
        f"{asked.name} is not drained: {why}",
        "give more replicas or time, or loosen the budget; it stays cordoned, and a rerun goes on",
    )


def evicted(asked: Any) -> List[str]:
    """Have all pods leave in time; what kubectl said where they did not.

    It ends at the first request that is not answered, and is run again where that may be.
    """
    end, left = time.monotonic() + asked.timeout, asked.timeout
    while True:
        rc, said = kubectl_drain(asked, left)
        left = int(end - time.monotonic())
        if rc == 0:
            return []
        # What kubectl itself tries again is not why it ended.
        ended = [line for line in said if "will retry after" not in line]
        if left < 1 or not PASSING.search("\n".join(ended)):
            return said
        tell(f"once more, for at most {left} s")
        time.sleep(PAUSE_S)


def kubectl_drain(asked: Any, seconds: int) -> Tuple[int, List[str]]:
    """How ``kubectl drain`` ended, and what it said, which is told as it comes."""
    words = ["drain", asked.name, "--ignore-daemonsets", "--delete-emptydir-data"]
    words += [f"--timeout={seconds}s", f"--request-timeout={REQUEST_S}s"]
    said = ["kubectl failed"]
    with subprocess.Popen(
        asking(*words, *(["--force"] if asked.bare_pods else [])),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        for line in process.stdout or ():
            said.append(line.decode(errors="replace").rstrip())
            tell(said[-1])
    return process.returncode, said


def remaining(end: float, name: str) -> Iterator[str]:
    """The pods that should have gone, each with what keeps it."""
    there = found(end, "pods", "-A", "--field-selector", f"spec.nodeName={name}")["items"]
    budgets = found(end, "poddisruptionbudgets", "-A")["items"]
    for pod in there:
        about = pod["metadata"]
        owners = [owner["kind"] for owner in about.get("ownerReferences", [])]
        if pod["status"].get("phase") in ("Succeeded", "Failed") or "DaemonSet" in owners:
            continue
        if "kubernetes.io/config.mirror" in about.get("annotations", {}):
            continue
        ending = about.get("deletionTimestamp")
        kept = [] if ending else [budget for budget in budgets if holds(budget, pod)]
        why = ", ".join(f"PodDisruptionBudget {told(budget)}" for budget in kept)
        if not kept:
            why = f"its own end, due {ending}" if ending else "nothing that is known"
        yield f"pod {about['namespace']}/{about['name']} is kept by {why}"


def told(budget: Dict[str, Any]) -> str:
    about, now = budget["metadata"], budget.get("status", {})
    healthy, needed = now.get("currentHealthy", 0), now.get("desiredHealthy", 0)
    return f"{about['namespace']}/{about['name']} ({healthy} pods are healthy, {needed} have to be)"


def holds(budget: Dict[str, Any], pod: Dict[str, Any]) -> bool:
    """Whether a budget lets the pod not go now."""
    if budget["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    if budget.get("status", {}).get("disruptionsAllowed", 0) > 0:
        return False
    labels, selector = pod["metadata"].get("labels", {}), budget["spec"].get("selector", {})
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        value, values = labels.get(rule["key"]), rule.get("values", [])
        fits = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not fits[rule["operator"]]:
            return False
    return True


def uncordon(asked: Any) -> int:
    end = until(asked)
    there = node(end, asked.name)
    if there is None:
        raise RefusedError(f"{asked.name} is no node of the cluster", "see: kubectl get nodes")
    if CORDONED not in there["metadata"].get("annotations", {}):
        if there["spec"].get("unschedulable", False):
            tell(f"{asked.name} stays cordoned: it was so before")
        return 0
    change(end, "uncordon", asked.name)
    change(end, "annotate", "node", asked.name, f"{CORDONED}-")
    tell(f"{asked.name} takes pods again")
    return 0


def delete(asked: Any) -> int:
    """The member of etcd first: while it is there, its loss counts against the quorum."""
    removed = etcd("remove", asked.name)
    sys.stdout.write(removed.out)
    if removed.rc != 0:
        message, _, hint = removed.err.strip().partition("\nhint: ")
        raise RefusedError(message.replace("kube-etcd: ", "", 1), hint or "see: kube-admin members")
    end = until(asked)
    change(end, "delete", "node", asked.name, "--ignore-not-found")
    # Static pods of a host that is gone would stay a while, and kubeadm would ask them for etcd.
    chosen = ("-l", "tier=control-plane", "--field-selector", f"spec.nodeName={asked.name}")
    change(end, "delete", "pods", "-n", "kube-system", *chosen, "--force", "--grace-period=0")
    tell(f"{asked.name} is not in the cluster any more")
    return 0


VERBS = {
    "nodes": nodes,
    "health": health,
    "version": version,
    "drain": drain,
    "uncordon": uncordon,
    "delete": delete,
}


def run(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    parser = argparse.ArgumentParser(prog="kube-cluster")
    verbs = parser.add_subparsers(dest="verb")
    verbs.required = True
    for verb in VERBS:
        own = verbs.add_parser(verb)
        own.add_argument("--config", default=ADMIN)
        own.add_argument("--patience", type=float, default=PATIENCE.get(verb, 60), help="seconds")
        if verb in ("drain", "uncordon", "delete"):
            own.add_argument("name")
    verbs.choices["nodes"].add_argument("--pods", action="store_true")
    verbs.choices["drain"].add_argument("--timeout", type=int, default=600, help="seconds")
    verbs.choices["drain"].add_argument("--bare-pods", action="store_true", help="delete them, too")
    asked = parser.parse_args(words)
    try:
        use(asked.config)
        return VERBS[asked.verb](asked)
    except PassingError as error:
        refused("kube-cluster", error)
        return AWAY
    except RefusedError as error:
        return refused("kube-cluster", error)
