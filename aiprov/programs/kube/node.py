"""Whether this host is a member of its cluster, and making it one.

    kube-node joined         0: it is; 1: it is not, and why; 2: it cannot be told
    kube-node join < FILE    makes it one; FILE is a kubeconfig that lets it in

The first control plane begins the cluster where none lives anywhere; every other host waits for it.
Control planes join one after the other, workers all together. What a run that was cut off left is
cleaned away, or finished where all but the end was done.
"""

import sys
from typing import Callable, Dict, List

from . import checks, kubectl, members, settings
from .cluster import PATIENCE_S, Api, Credential, alive, credential, shown, split
from .hold import held
from .host import (
    ADMIN,
    COMPONENTS,
    FOLDER,
    INIT,
    JOIN,
    KUBELET,
    MANIFESTS,
    PKI,
    RUN,
    STARTED,
    Node,
    PassingError,
    RefusedError,
    alone,
    document,
    exists,
    inside,
    kubeadm,
    main,
    must,
    read,
    remove,
    tell,
    wait,
    write,
)
from .leftovers import clean, put_back, strangers
from .peers import answers, awaited, cluster_lives, name_free, refuse_skew, refuse_taken, unanswered
from .standing import by_file, ended, lacks, static_pods, unfit
from .static_pods import left_stopped
from .turn import turn

BOOTSTRAP = f"{RUN}/bootstrap.conf"
BACK_S = 60
"""How long a control plane whose run was cut off is given to come up again by itself."""
RESET = "aiprov cluster reset -l {}, then run aiprov again"


# ---------------------------------------------------------------- is it a member?


def joined(node: Node) -> int:
    """The question."""
    reasons = lacks(node, patient=True)
    for reason in reasons:
        tell(reason)
    return int(bool(reasons))


# ---------------------------------------------------------------- making it one


def join(node: Node) -> int:
    """Make this host a member."""
    given = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    with alone(node.wait_s):
        remove(BOOTSTRAP)  # of a run that was cut off
        put_back()
        if not lacks(node, patient=True):
            tell(f"{node.name} is a member already")
            return 0
        begun = str(document(STARTED).get("what") or "")
        if not begun and exists(KUBELET):
            revive(node, given)
            return 0
        if not begun:
            refuse_strangers(node)
        if not given.strip():
            raise RefusedError(
                "nothing was given on standard input, and a kubeconfig is needed to join",
                "kube-node join < FILE, as aiprov apply does",
            )
        who = credential(given, "what was given on standard input")
        checks.refuse_unfit(node, who, bool(begun))
        become_member(node, who, given, begun)
    return 0


def become_member(node: Node, who: Credential, given: str, begun: str) -> None:
    """Begin a cluster, join one, or end what was begun."""
    try:
        if not node.control_plane:
            work(node, who, given, begun)
        elif begun == "init" and resumable(node):
            tell("kubeadm init was cut off near its end: it is finished")
            initialise(node, resumed=True)
        elif begun == "init" and document(STARTED).get("done"):
            # Others may have joined since, and all they know is in this host's etcd alone.
            raise RefusedError(
                f"this host has begun a cluster, and its API server does not answer at "
                f"{shown(node.address, node.api_port)}",
                "crictl ps -a and crictl logs tell why; if nothing of the cluster is to be kept: "
                + RESET.format(node.name),
            )
        elif cluster_lives(node, who, begun):
            control(node, who, given, begun)
        else:
            clean(node, begun)
            initialise(node, resumed=False)
    finally:
        remove(BOOTSTRAP)


def refuse_strangers(node: Node) -> None:
    """Raise ``RefusedError`` for what another Kubernetes left, which is nobody's to remove here."""
    found = strangers(node)
    if found:
        raise RefusedError(
            f"an earlier Kubernetes has left {', '.join(found)}, which aiprov did not begin",
            "if none of it is needed any more: " + RESET.format("HOST"),
        )


def revive(node: Node, given: str) -> None:
    """A member that does not work is started, and waited for. Raises ``RefusedError``."""
    own = credential(read(KUBELET), KUBELET)
    ca = credential(given, "what was given").ca if given.strip() else read(f"{PKI}/ca.crt")
    if ca and "".join(ca.split()) != "".join(own.ca.split()):
        raise RefusedError(
            f"{node.name} is a member of another cluster, at {shown(own.host, own.port)}",
            "if it is to leave that: " + RESET.format("HOST"),
        )
    if left_stopped():
        raise RefusedError(
            f"{', '.join(left_stopped())} were stopped by a run that was cut off",
            "run that again: aiprov cluster restore FILE, or aiprov cluster certificates --renew",
        )
    refuse_other_part(node)
    tell(f"{node.name} has joined, but: {'; '.join(lacks(node))}")
    must(["systemctl", "restart", "kubelet"], hint="journalctl -u kubelet tells why")
    if not wait(lambda: not lacks(node), f"{node.name} to work again", node.wait_s):
        raise RefusedError(
            f"{node.name} has joined and does not work: {'; '.join(lacks(node))}",
            "journalctl -u kubelet and crictl ps -a tell why; if nothing of it is to be kept: "
            + RESET.format("HOST"),
        )


def refuse_other_part(node: Node) -> None:
    """Raise ``RefusedError`` for a worker that is to be a control plane, or the other way round."""
    is_plane = bool(static_pods())
    if is_plane == node.control_plane:
        return
    parts = ("a worker", "a control plane")
    raise RefusedError(
        f"{node.name} has joined as {parts[is_plane]}, and the inventory has it as "
        f"{parts[node.control_plane]}",
        f"take it out first, then let it join: aiprov cluster remove {node.name}, aiprov apply",
    )


# ---------------------------------------------------------------- the first


def resumable(node: Node) -> bool:
    """Whether an init that was cut off got as far as an API server that answers."""
    there = inside(MANIFESTS)
    if not exists(ADMIN) or not exists(KUBELET):
        return False
    if any(f"{name}.yaml" not in there for name in COMPONENTS):
        return False
    ca = read(f"{PKI}/ca.crt")
    where = (node.address, node.api_port)
    patience = min(BACK_S, node.wait_s)
    return wait(lambda: alive(*where, ca) == 200, f"the API server at {shown(*where)}", patience)


def initialise(node: Node, resumed: bool) -> None:
    """Begin the cluster, or end its beginning."""
    if not resumed:
        checks.refuse(checks.ports(node))
    write(STARTED, '{"what": "init"}\n')
    with held(node.more.get("endpoint_hold") or "", node.wait_s):
        try:
            run_init(node, resumed)
        except PassingError as error:
            if not resumable(node):
                raise
            tell(f"once more: {error}")
            run_init(node, resumed=True)
    write(STARTED, '{"what": "init", "done": true}\n')
    api = by_file(ADMIN, node)
    token = node.more.get("token_id")
    if token:
        path = f"/api/v1/namespaces/kube-system/secrets/bootstrap-token-{token}"
        status = api.answer(path, "DELETE")[0]
        if status >= 300 and status != 404:
            tell(f"the bootstrap token could not be deleted ({status}): it ends in a minute")
    finish(node, api)


def run_init(node: Node, resumed: bool) -> None:
    """Let kubeadm begin, or end, the cluster. Raises ``PassingError`` where it may in a moment."""
    done = ["preflight", "certs", "kubeconfig", "kubelet-start", "control-plane", "etcd"]
    skipped = [*done, *(node.more.get("skip_phases") or [])]
    kubectl.kubeadm(
        "init",
        *("--config", INIT, "--skip-token-print"),
        *([f"--skip-phases={','.join(skipped)}"] if resumed else []),
        *(node.more.get("init_arguments") or []),
        *ignored(node),
        hint="journalctl -u kubelet and crictl ps -a tell more; then run aiprov again, which "
        "cleans up and starts over",
    )


def ignored(node: Node, manifests: bool = False) -> List[str]:
    """The flag that names the checks that kubeadm is to leave out."""
    checks_left_out = list(node.more.get("ignore_preflight_errors") or [])
    if manifests and inside(MANIFESTS):  # ours, such as kube-vip's
        checks_left_out.append("DirAvailable--etc-kubernetes-manifests")
    return [f"--ignore-preflight-errors={','.join(checks_left_out)}"] if checks_left_out else []


# ---------------------------------------------------------------- further ones


def control(node: Node, who: Credential, given: str, begun: str) -> None:
    """Join as a control plane, when it is this host's turn."""
    remove(ADMIN)
    kubeadm("init", "phase", "kubeconfig", "admin", "--config", INIT)
    api = by_file(ADMIN, node)
    if begun:
        members.start_announced(node)  # without it the cluster may not even give turns
    with turn(api, node.name, node.wait_s):
        if begun and ended(node, api):
            tell("kubeadm join was cut off when all was done")
            finish(node, api)
            return
        refuse_skew(node, api)
        refuse_taken(node, api)
        # Who joins may ask as soon as the first has given that right; kubeadm asks just once.
        Api(who, patience=api.patience).node(node.name)
        write(STARTED, '{"what": "join"}\n')
        members.forget(node)
        clean(node, begun)
        join_patiently(node, api, given)
        finish(node, api)


def work(node: Node, who: Credential, given: str, begun: str) -> None:
    """Join as a worker."""
    where = split(node.endpoint)
    if not wait(lambda: answers(where, who.ca), awaited(node), node.wait_s):
        raise unanswered(node)
    api = Api(who, *where, patience=min(PATIENCE_S, node.wait_s))
    if begun and ended(node, api):
        tell("kubeadm join was cut off when all was done")
        finish(node, by_file(KUBELET, node))
        return
    refuse_skew(node, api)
    refuse_taken(node, api)
    clean(node, begun)
    join_patiently(node, api, given)
    finish(node, by_file(KUBELET, node))


def join_patiently(node: Node, api: Api, given: str) -> None:
    """Let kubeadm join, and once more where it got no answer: it asks for less than a second.

    While a control plane joins, be it this one, etcd has no leader for a while.
    """
    try:
        run_join(node, api, given)
    except PassingError as error:
        tell(f"once more: {error}")
        api.node(node.name)
        if node.control_plane:
            members.start_announced(node)
            if ended(node, api):
                return
            members.forget(node)
        clean(node, "join")
        run_join(node, api, given)


def run_join(node: Node, api: Api, given: str) -> None:
    """Let kubeadm join. Raises ``PassingError`` where it may do so in a moment."""
    name_free(node, api)
    checks.refuse(checks.ports(node))
    write(STARTED, '{"what": "join"}\n')
    write(BOOTSTRAP, given)
    kubectl.kubeadm(
        "join",
        *("--config", JOIN),
        *ignored(node, manifests=True),
        hint="journalctl -u kubelet and crictl ps -a tell more; then run aiprov again, which "
        "cleans up and starts over",
    )
    remove(BOOTSTRAP)


# ---------------------------------------------------------------- and after


def finish(node: Node, api: Api) -> None:
    """Wait until the node is one, bring its settings in order, and keep a record."""
    if not wait(lambda: not unfit(node), f"{node.name} to be a member", node.wait_s):
        raise RefusedError(
            f"kubeadm is done, but {'; '.join(unfit(node))}",
            "journalctl -u kubelet and crictl ps -a tell why; then run aiprov again",
        )
    if node.control_plane:
        members.wait_until_well(node, api)
    if document(STARTED).get("what") == "init":
        settings.publish(node, api)
    settings.settle(node, api)
    settings.keep_record(node)
    remove(STARTED)
    tell(f"{node.name} is a member of the cluster")


VERBS: Dict[str, Callable[[Node], int]] = {"joined": joined, "join": join}


def run(words: List[str]) -> int:
    """Run a verb."""
    if words == ["joined"] and not exists(f"{FOLDER}/node.json"):
        tell(f"this host has not joined: {FOLDER}/node.json is not there")
        return 1
    return main("kube-node", VERBS, words)
