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
"""

import argparse
import json
import re
import subprocess
import sys
from datetime import datetime, timezone
from typing import Any, Dict, Iterator, List, Optional

from . import host
from .host import ADMIN, Done, RefusedError, refused, tell
from .kubectl import asking, get, kubectl, must, use

CORDONED = "aiprov.io/cordoned"
ROLE = "node-role.kubernetes.io/"
PLANES = ("control-plane", "master")
"""How nodes of control planes are labelled, from 1.20 on and until 1.23."""
GPUS = "nvidia.com/"
ASK_S = 5


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
    pods = None  # type: Optional[Dict[str, int]]
    if asked.pods:
        every = "jsonpath={range .items[*]}{.spec.nodeName}{'\\n'}{end}"
        alive = "status.phase!=Succeeded,status.phase!=Failed"
        pods = {}
        for name in must("get", "pods", "-A", "--field-selector", alive, "-o", every).out.split():
            pods[name] = pods.get(name, 0) + 1
    servers = api_versions()
    found = [described(node, pods) for node in get("nodes")["items"]]
    return show({"nodes": [dict(one, api_version=servers.get(one["name"])) for one in found]})


def api_versions() -> Dict[str, str]:
    """The version of the API server on each control plane, by the tag of its image."""
    chosen = ("pods", "-n", "kube-system", "-l", "component=kube-apiserver")
    found = {}
    for pod in get(*chosen).get("items", []):
        tag = re.search(r":v(\d+\.\d+\.\d+)", pod["spec"]["containers"][0]["image"])
        if tag:
            found[pod["spec"]["nodeName"]] = tag.group(1)
    return found


def version(_asked: Any) -> int:
    told = json.loads(must("version", f"--request-timeout={ASK_S}s", "-o", "json").out)
    about = get("configmap", "kubeadm-config", "-n", "kube-system", "--ignore-not-found")
    config = about.get("data", {}).get("ClusterConfiguration", "")
    found = re.search(r"^kubernetesVersion: v?(\S+)$", config, re.MULTILINE)
    kubeadm = host.run(["kubeadm", "version", "-o", "short"])
    return show(
        {
            "api": told["serverVersion"]["gitVersion"].lstrip("v"),
            "kubectl": told["clientVersion"]["gitVersion"].lstrip("v"),
            "kubeadm": kubeadm.out.strip().lstrip("v") if kubeadm.rc == 0 else None,
            "cluster": found.group(1) if found else None,
        }
    )


def health(_asked: Any) -> int:
    ready = kubectl("get", "--raw", "/readyz", f"--request-timeout={ASK_S}s")
    if ready.rc != 0:
        problem = {"what": "API", "why": ready.said}
        return show({"healthy": False, "problems": [problem], "etcd": []})
    problems = []  # type: List[Dict[str, str]]
    asked_etcd = etcd("members")
    members = json.loads(asked_etcd.out)["members"] if asked_etcd.rc == 0 else []
    if asked_etcd.rc != 0:
        problems.append({"what": "etcd", "why": asked_etcd.err.partition("\nhint: ")[0]})
    for member in members:
        if not member["healthy"]:
            problems.append({"what": f"etcd {member['name']}", "why": member["reason"]})
    for pod in get("pods", "-n", "kube-system", "-l", "tier=control-plane").get("items", []):
        if condition(pod, "Ready")["status"] != "True":
            why = condition(pod, "Ready").get("message") or pod["status"].get("phase", "")
            problems.append({"what": f"pod {pod['metadata']['name']}", "why": why})
    for node in get("nodes")["items"]:
        one = described(node, None)
        if not one["ready"]:
            problems.append({"what": f"node {one['name']}", "why": one["reason"]})
    return show({"healthy": not problems, "problems": problems, "etcd": members})


# ---------------------------------------------------------------- drain and uncordon


def node(name: str) -> Optional[Dict[str, Any]]:
    found = get("node", name, "--ignore-not-found")
    return found if found.get("kind") == "Node" else None


def drain(asked: Any) -> int:
    there = node(asked.name)
    if there is None:
        tell(f"{asked.name} is no node of the cluster")
        return 0
    if not there["spec"].get("unschedulable", False):
        # Noted first: a run that is killed in between leaves a node that uncordon frees.
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        must("annotate", "node", asked.name, "--overwrite", f"{CORDONED}={now}")
        must("cordon", asked.name)
    words = ["drain", asked.name, "--ignore-daemonsets", "--delete-emptydir-data"]
    words += [f"--timeout={asked.timeout}s", *(["--force"] if asked.bare_pods else [])]
    tell(f"drain {asked.name}, for at most {asked.timeout} s")
    said = ["kubectl failed"]
    with subprocess.Popen(
        asking(*words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        for line in process.stdout or ():
            said.append(line.decode(errors="replace").rstrip())
            tell(said[-1])
    if process.returncode == 0:
        return 0
    if not asked.bare_pods and any("use --force to override" in line for line in said):
        raise RefusedError(
            f"{asked.name} is not drained: {said[-1]}",
            "nothing makes such pods again: delete them, or let them be deleted: --bare-pods",
        )
    why = "; ".join(remaining(asked.name)) or said[-1]
    raise RefusedError(
        f"{asked.name} is not drained: {why}",
        "give more replicas or time, or loosen the budget; it stays cordoned, and a rerun goes on",
    )


def remaining(name: str) -> Iterator[str]:
    """The pods that should have gone, each with what keeps it."""
    found = get("pods", "-A", "--field-selector", f"spec.nodeName={name}")["items"]
    budgets = get("poddisruptionbudgets", "-A")["items"]
    for pod in found:
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
    there = node(asked.name)
    if there is None:
        raise RefusedError(f"{asked.name} is no node of the cluster", "see: kubectl get nodes")
    if CORDONED not in there["metadata"].get("annotations", {}):
        if there["spec"].get("unschedulable", False):
            tell(f"{asked.name} stays cordoned: it was so before")
        return 0
    must("uncordon", asked.name)
    must("annotate", "node", asked.name, f"{CORDONED}-")
    tell(f"{asked.name} takes pods again")
    return 0


def delete(asked: Any) -> int:
    """The member of etcd first: while it is there, its loss counts against the quorum."""
    removed = etcd("remove", asked.name)
    sys.stdout.write(removed.out)
    if removed.rc != 0:
        message, _, hint = removed.err.strip().partition("\nhint: ")
        raise RefusedError(message.replace("kube-etcd: ", "", 1), hint or "see: kube-admin members")
    must("delete", "node", asked.name, "--ignore-not-found")
    # Static pods of a host that is gone would stay a while, and kubeadm would ask them for etcd.
    chosen = ("-l", "tier=control-plane", "--field-selector", f"spec.nodeName={asked.name}")
    must("delete", "pods", "-n", "kube-system", *chosen, "--force", "--grace-period=0")
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
        if verb in ("drain", "uncordon", "delete"):
            own.add_argument("name")
    verbs.choices["nodes"].add_argument("--pods", action="store_true")
    verbs.choices["drain"].add_argument("--timeout", type=int, default=600, help="seconds")
    verbs.choices["drain"].add_argument("--bare-pods", action="store_true", help="delete them, too")
    asked = parser.parse_args(words)
    try:
        use(asked.config)
        return VERBS[asked.verb](asked)
    except RefusedError as error:
        return refused("kube-cluster", error)
