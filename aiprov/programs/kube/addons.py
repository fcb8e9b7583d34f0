"""A cluster from one of its control planes: its add-ons, and what else an administrator does.

    kube-admin applied FILE    0: the cluster has what the file says; 1: it has not, and what; 2: ?
    kube-admin apply FILE      makes it so, and takes away what an earlier version of it brought;
                               for --timeout seconds where the API does not answer
    kube-admin VERB …          the verbs of kube-cluster, kube-etcd and kube-certificates beside it

A file is an add-on, named as the file without its number. Which objects it brought is kept in the
ConfigMap ``aiprov-addon-NAME`` of kube-system: what is in there and not in the file any more is
deleted, if it still has the add-on's labels. Namespaces and definitions of kinds are not: with
them would go what other people have made.
"""

import argparse
import json
import os
import re
import sys
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Set, Tuple

from . import drift
from .host import ADMIN, PAUSE_S, Done, PassingError, RefusedError, beside, refused, tell
from .kubectl import NOT_YET, PASSING, UNANSWERED, again, get, kubectl, must, refusal, use

MANAGER = ("--server-side", "--field-manager", "aiprov", "--force-conflicts")
MANAGED, ADDON = "app.kubernetes.io/managed-by", "aiprov.io/addon"
KEPT = ("Namespace", "CustomResourceDefinition")
"""They come before everything else, and are never deleted."""
ASK_S = 6 * PAUSE_S
"""How long an API that does not answer is asked again. A question has half a minute."""
MOST_LINES, MOST_LETTERS = 20, 160


# ---------------------------------------------------------------- add-ons


class Thing(NamedTuple):
    """An object's name among all. ``kind`` as kubectl takes it: ``Deployment.v1.apps``."""

    kind: str
    namespace: str
    name: str

    @property
    def text(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.split('.')[0]} {where}{self.name}"


def thing(found: Dict[str, Any]) -> Thing:
    group, _, version = found["apiVersion"].rpartition("/")
    kind = f"{found['kind']}.{version}.{group}" if group else found["kind"]
    about = found["metadata"]
    return Thing(kind, about.get("namespace", ""), about["name"])


def addon(path: str) -> str:
    """The add-on's name: ``manifests/20-gpu-plugin.yaml`` is ``gpu-plugin``."""
    return re.sub(r"^\d+-", "", os.path.splitext(os.path.basename(path))[0])


def objects(path: str) -> List[Dict[str, Any]]:
    """The file's objects with the add-on's labels, those first that others build on.

    kubectl reads the YAML, because Python brings no reader of it.
    """
    labels = [f"{MANAGED}=aiprov", f"{ADDON}={addon(path)}"]
    done = kubectl("label", "--local", "--overwrite", "-f", path, "-o", "json", *labels)
    if done.rc != 0:
        raise RefusedError(f"{path}: {done.said}", "the file is no manifest that kubectl reads")
    return sorted(
        documents(done.out),
        key=lambda one: KEPT.index(one["kind"]) if one["kind"] in KEPT else len(KEPT),
    )


def documents(text: str) -> List[Dict[str, Any]]:
    """The objects in what kubectl prints: one after the other, or in lists."""
    reader, rest, found = json.JSONDecoder(), text.lstrip(), []  # type: Any, str, List[Any]
    while rest:
        read, end = reader.raw_decode(rest)
        found += read["items"] if read["kind"] == "List" else [read]
        rest = rest[end:].lstrip()
    return found


def record(name: str, things: Iterable[Thing]) -> Dict[str, Any]:
    """The ConfigMap that says what an add-on brought."""
    about = {"name": f"aiprov-addon-{name}", "namespace": "kube-system"}
    lines = sorted("|".join(one) for one in things)
    labels = {MANAGED: "aiprov", ADDON: name}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": dict(about, labels=labels),
        "data": {"objects": "".join(f"{line}\n" for line in lines)},
    }


def things(record: Dict[str, Any]) -> Set[Thing]:
    """What an add-on brought, by its ConfigMap."""
    lines = record.get("data", {}).get("objects", "").splitlines()
    return {Thing(*line.split("|")) for line in lines}


def recorded(name: str) -> Set[Thing]:
    """What an add-on brought, as far as that is known."""
    words = ("configmap", f"aiprov-addon-{name}", "-n", "kube-system", "--ignore-not-found")
    return things(get(*words))


def listed(found: List[Dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": found})


def applied(asked: Any) -> int:
    """Tell what of the add-on is not in the cluster as the file says."""
    if not os.path.exists(asked.config):
        tell("this host is no control plane of a cluster yet")
        return 1
    use(asked.config)
    found, name = objects(asked.file), addon(asked.file)
    wanted = {thing(one) for one in found}

    def compared() -> Tuple[List[str], Set[Thing]]:
        try:
            return differences(asked.config, found, name)
        except (RefusedError, drift.Unanswered) as error:
            # An API server is away for a moment while etcd is given another member.
            raise PassingError(str(error), UNANSWERED) from error

    # What is told is what differs: nothing of another try.
    lines, before = again(compared, time.monotonic() + ASK_S, say=lambda _text: None)
    lines += [f"{one.text}: an earlier version brought it" for one in sorted(before - wanted)]
    if not lines and before != wanted:
        lines = ["what the add-on brings is not on record yet"]
    for line in lines[:MOST_LINES]:
        tell(line[:MOST_LETTERS])
    return int(bool(lines))


def differences(
    config: str, found: List[Dict[str, Any]], name: str
) -> Tuple[List[str], Set[Thing]]:
    """What is other in the cluster, a line each, and what the add-on brought before.

    Raises ``RefusedError`` or ``drift.Unanswered``.
    """
    with open(config, encoding="utf-8") as source:
        server = drift.Server(source.read())
    lines = [
        f"{thing(one).text}: {text}" for one in found for text in drift.differences(server, one)
    ]
    return lines, things(server.now(record(name, ())) or {})


def apply(asked: Any) -> int:
    use(asked.config)
    name = addon(asked.file)
    deadline = time.monotonic() + asked.timeout
    found = objects(asked.file)
    wanted = {thing(one) for one in found}
    before = again(lambda: recorded(name), deadline)
    # Known before it is made: a run that is killed leaves nothing that nobody knows of.
    send([record(name, before | wanted)], deadline)
    first = [one for one in found if one["kind"] in KEPT]
    send(first, deadline)
    again(lambda: established(first, deadline), deadline)
    send([one for one in found if one["kind"] not in KEPT], deadline)
    again(lambda: prune(name, before - wanted), deadline)
    send([record(name, wanted)], deadline)
    return 0


def established(found: List[Dict[str, Any]], deadline: float) -> None:
    """Wait until the cluster knows the kinds that are defined."""
    for one in found:
        if one["kind"] == "CustomResourceDefinition":
            left = max(int(deadline - time.monotonic()), 1)
            words = ["wait", "--for=condition=Established", f"--timeout={left}s"]
            must(*words, f"crd/{one['metadata']['name']}", timeout=left + 10)


def send(found: List[Dict[str, Any]], deadline: float) -> None:
    """Apply objects, again and again while what keeps them out may be over in a moment."""

    hint = "correct the add-on's settings"

    def sent() -> None:
        done = kubectl("apply", *MANAGER, "-f", "-", stdin=listed(found))
        for line in done.out.splitlines():
            tell(line)
        if done.rc != 0:
            raise refusal(done, f"kubectl apply: {shown(done, found)}", hint)

    if found:
        again(sent, deadline)


def shown(done: Done, found: List[Dict[str, Any]]) -> str:
    """What kubectl says of objects; it quotes them, so of a Secret only what may be over soon."""
    if not drift.is_secret(found):
        return done.err.strip()
    passing = NOT_YET.search(done.err) or PASSING.search(done.err)
    return passing.group(0) if passing else "what it says may hold the secret"


def prune(name: str, gone: Set[Thing]) -> None:
    """Delete what the add-on brings no more, if it is still the add-on's."""
    for one in sorted(gone):
        if one.kind.split(".")[0] in KEPT:
            tell(f"{one.text} stays: others may use it")
            continue
        words = ["delete", one.kind, "-l", f"{MANAGED}=aiprov,{ADDON}={name}"]
        words += ["--field-selector", f"metadata.name={one.name}", "--ignore-not-found"]
        done = kubectl(*words, *(["-n", one.namespace] if one.namespace else []), timeout=120)
        if done.rc != 0 and "the server doesn't have a resource type" not in done.err:
            why = f"{one.text} cannot be deleted: {done.said}"
            raise refusal(done, why, f"see: kubectl describe {one.kind}")
        tell(f"{one.text} deleted")


# ---------------------------------------------------------------- the verbs

ELSEWHERE = {
    "kube-cluster": ("nodes", "health", "version", "drain", "uncordon", "delete"),
    "kube-etcd": ("members", "remove", "snapshot", "restore"),
    "kube-certificates": ("certificates", "renew"),
}


def elsewhere(words: List[str]) -> None:
    """Become the program beside this one that has the verb, if one has it."""
    for name, verbs in ELSEWHERE.items():
        if words[:1] and words[0] in verbs:
            os.execv(sys.executable, [sys.executable, "-B", beside(name), *words])  # noqa: S606


def run(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    elsewhere(words)
    parser = argparse.ArgumentParser(prog="kube-admin")
    parser.add_argument("verb", choices=("applied", "apply"))
    parser.add_argument("file")
    parser.add_argument("--config", default=ADMIN)
    parser.add_argument("--timeout", type=float, default=180, help="seconds")
    asked = parser.parse_args(words)
    try:
        return applied(asked) if asked.verb == "applied" else apply(asked)
    except RefusedError as error:
        return refused("kube-admin", error)
