"""A helm that stands in: releases in a file of JSON, the verbs that kube-chart uses.

``state.json`` in the folder AIPROV_TEST_STATE: ``releases`` by ``NAMESPACE/NAME``; ``fails``: by
verb what it always says, or in a list what it says one time after the other; ``kills``: a verb in
the middle of which it is killed, once. ``log`` has one line a call. It takes the flags that Helm
4.2.4 has, and no others.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path

HERE = Path(os.environ["AIPROV_TEST_STATE"])
STATE = HERE / "state.json"
state = json.loads(STATE.read_text())
releases = state.setdefault("releases", {})
words = sys.argv[1:]
with (HERE / "log").open("a") as log:
    log.write(" ".join(words) + "\n")


def save():
    STATE.write_text(json.dumps(state))


def end(rc, err=""):
    save()
    sys.stderr.write(err)
    sys.exit(rc)


def dies(verb):
    if state.get("kills") == verb:
        del state["kills"]
        save()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


if "connection refused" in state:
    end(1, "Error: Kubernetes cluster unreachable: connection refused\n")
assert os.environ["KUBECONFIG"]
assert os.environ["HELM_CACHE_HOME"] != os.environ.get("HOME")

parser = argparse.ArgumentParser()
verbs = parser.add_subparsers(dest="verb")
one = verbs.add_parser("list")
for flag in ("all-namespaces", "deployed", "failed", "pending", "superseded", "uninstalling"):
    one.add_argument(f"--{flag}", action="store_true")
one.add_argument("--selector")
one.add_argument("--output")
one = verbs.add_parser("get")
one.add_argument("what", choices=["values"])
one.add_argument("name")
one.add_argument("--namespace")
one.add_argument("--output")
one = verbs.add_parser("pull")
one.add_argument("chart")
one.add_argument("--repo")
one.add_argument("--version")
one.add_argument("--destination")
one = verbs.add_parser("upgrade")
one.add_argument("name")
one.add_argument("chart")
for flag in ("install", "create-namespace", "reset-values", "wait"):
    one.add_argument(f"--{flag}", action="store_true")
for flag in ("namespace", "values", "history-max", "labels", "timeout"):
    one.add_argument(f"--{flag}")
for verb in ("uninstall", "rollback"):
    one = verbs.add_parser(verb)
    one.add_argument("name")
    one.add_argument("--namespace")
given = parser.parse_args(words)
if failing := state.get("fails", {}).get(given.verb):
    text = failing.pop(0) if isinstance(failing, list) else failing
    end(1, f"warning\nError: {text}\n")

key = f"{getattr(given, 'namespace', '')}/{getattr(given, 'name', '')}"
release = releases.get(key)
if given.verb == "list":
    label = given.selector.partition("=")
    found = [
        {"namespace": where.split("/")[0], "name": where.split("/")[1], **kept}
        for where, kept in sorted(releases.items())
        if kept["labels"].get(label[0]) == label[2]
    ]
    print(json.dumps([{k: v for k, v in item.items() if k != "values"} for item in found]))
elif given.verb == "get":
    print(json.dumps(release["values"]) if release["values"] else "null")
elif given.verb == "pull":
    name = given.chart.rpartition("/")[2]
    target = Path(given.destination) / f"{name}-{given.version}.tgz"
    shutil.copy(HERE / "charts" / f"{name}-{given.version}.tgz", target)
elif given.verb == "upgrade":
    if release and release["status"].startswith("pending-"):
        end(1, "Error: another operation (install/upgrade/rollback) is in progress\n")
    label = given.labels.partition("=")
    wanted = {
        "chart": Path(given.chart).name[: -len(".tgz")],
        "values": json.loads(Path(given.values).read_text()),
        "labels": {label[0]: label[2]},
        "waited": given.wait,
    }
    pending = "pending-upgrade" if release else "pending-install"
    releases[key] = {**wanted, "status": pending, "before": release}
    dies("upgrade")
    releases[key] = {**wanted, "status": "deployed"}
elif given.verb == "rollback":
    releases[key] = release["before"]
elif given.verb == "uninstall":
    del releases[key]
end(0)
