"""Helm charts of a cluster, from one of its control planes: compared with a recipe, and installed.

    kube-chart installed RECIPE     0: all is as the recipe says; 1: it is not, and what; 2: ?
    kube-chart install RECIPE [--environment FILE]    makes it so

RECIPE is a JSON document. ``helm``: ``version``, ``url`` (or a path on this host) and ``sha256`` of
Helm's archive, or null where nothing is wanted. ``charts``: releases in their order, each with
``name``, ``namespace``, ``repository`` (https:// with an index, oci://, or a folder on this host),
``chart``, ``version``, ``sha256`` of its archive or null, ``values``, ``timeout_s`` and ``wait``.
FILE holds variables of a proxy, as systemd's EnvironmentFile.

Releases carry a label of aiprov's. Those that have it and are wanted no more are uninstalled. One
that an earlier run left half-done is put back first. Helm lies beside this program, with a record
of what it was unpacked from. Exit status 2 is a failure: message and hint on standard error.
"""

import fcntl
import io
import json
import os
import tarfile
import tempfile
import time
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from . import host
from .fetched import digest, main, original, read
from .host import ADMIN, PAUSE_S, Done, PassingError, RefusedError, tell, write
from .kubectl import UNANSWERED, again, refusal

HELM = os.environ.get("AIPROV_TEST_HELM", "/usr/local/lib/aiprov/helm")
LOCK = os.environ.get("AIPROV_TEST_LOCK", "/run/aiprov-kube-chart.lock")
LABEL = "aiprov.io/managed"
ASK_S = 10
PULL_S = 300
MORE_S = 60
"""What Helm is given beyond the time that it gives the cluster."""
PATIENCE_S = 60 * PAUSE_S
"""How long an API that does not answer is tried again."""
STATES = ("--deployed", "--failed", "--pending", "--superseded", "--uninstalling")

Chart = Dict[str, Any]


# ---------------------------------------------------------------- Helm itself


def helm_is(wanted: Dict[str, str]) -> bool:
    """Whether Helm lies there whole, unpacked from the archive that is wanted."""
    try:
        record = json.loads(read(HELM + ".json").decode() or "{}")
    except ValueError:
        return False
    if record.get("archive") != wanted["sha256"]:
        return False
    return bool(record.get("program") == digest(read(HELM)))


def lay_helm(wanted: Dict[str, str]) -> None:
    """Fetch Helm's archive, hold it against its checksum, and lay the program in its place."""
    url, sha256 = wanted["url"], wanted["sha256"]
    archive = original(
        url, sha256, "Helm's archive", "kubernetes_helm_url", "kubernetes_helm_sha256"
    )
    program = unpacked(archive, url)
    write(HELM, program, 0o755)
    record = {"archive": sha256, "program": digest(program), "version": wanted["version"]}
    write(HELM + ".json", json.dumps(record, sort_keys=True) + "\n", 0o644)
    tell("helm {} is laid to {}".format(wanted["version"], HELM))


def unpacked(archive: bytes, url: str) -> bytes:
    """The program in Helm's archive, ``linux-amd64/helm``."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for member in members:
                if member.isfile() and os.path.basename(member.name) == "helm":
                    program = members.extractfile(member)
                    if program is not None:
                        return program.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RefusedError(f"{url}: {error}", "give Helm's own archive, a tar.gz") from error
    raise RefusedError(f"{url} holds no program helm", "give Helm's own archive, a tar.gz")


# ---------------------------------------------------------------- asking Helm


def helm(words: List[str], folder: str, limit_s: float, lock: int = -1) -> Done:
    """What Helm did. It has its own folders, and the lock while it runs."""
    own = {f"HELM_{name}_HOME": folder for name in ("CACHE", "CONFIG", "DATA")}
    config = os.environ.get("KUBECONFIG", ADMIN)
    return host.run(
        [HELM, *words],
        limit_s,
        hint=UNANSWERED,
        absent="is it for this machine?",
        env=dict(os.environ, KUBECONFIG=config, LC_ALL="C", **own),
        pass_fds=() if lock < 0 else (lock,),
    )


def asked(words: List[str], folder: str) -> Any:
    """Helm's answer as a value."""
    done = helm([*words, "--output", "json"], folder, ASK_S)
    if done.rc != 0:
        raise refusal(done, f"helm {words[0]}: {done.said}", UNANSWERED)
    return json.loads(done.out or "null")


def releases(folder: str) -> Dict[Tuple[str, str], Dict[str, Any]]:
    """aiprov's releases by namespace and name."""
    words = ["list", "--all-namespaces", "--selector", LABEL + "=true", *STATES]
    return {(one["namespace"], one["name"]): one for one in asked(words, folder) or []}


def key(chart: Chart) -> Tuple[str, str]:
    return chart["namespace"], chart["name"]


def difference(chart: Chart, release: Optional[Dict[str, Any]], folder: str) -> Optional[str]:
    """What is other than wanted of a release, in words; None where nothing is."""
    name = chart["name"]
    if release is None:
        return f"{name} is not installed"
    wanted = "{}-{}".format(chart["chart"], chart["version"])
    if release["chart"] != wanted:
        return "{} is {}, not {}".format(name, release["chart"], wanted)
    if release["status"] != "deployed":
        return "{} is {}".format(name, release["status"])
    words = ["get", "values", name, "--namespace", chart["namespace"]]
    values = asked(words, folder) or {}
    if values != chart["values"]:
        both = sorted(
            one
            for one in {*values, *chart["values"]}
            if values.get(one) != chart["values"].get(one)
        )
        return "{} has other values: {}".format(name, ", ".join(both))
    return None


def installed(recipe: Dict[str, Any]) -> int:
    """Whether all is as wanted. What is not is told, one line each."""
    wanted, charts = recipe["helm"], recipe["charts"]
    if charts and not helm_is(wanted):
        tell("helm {} is not there".format(wanted["version"]))
        return 1
    if not os.path.exists(HELM):
        return 0
    with tempfile.TemporaryDirectory(prefix="aiprov-helm-", dir=os.path.dirname(LOCK)) as folder:
        there = releases(folder)
        found = [difference(chart, there.get(key(chart)), folder) for chart in charts]
    stale = sorted(set(there) - {key(chart) for chart in charts})
    lines = [one for one in found if one] + [f"{name} is wanted no more" for _, name in stale]
    for line in lines:
        tell(line)
    return 1 if lines else 0


# ---------------------------------------------------------------- installing


def install(recipe: Dict[str, Any]) -> int:
    """Make all as wanted, chart after chart."""
    lock = locked()
    wanted, charts = recipe["helm"], recipe["charts"]
    if charts and not helm_is(wanted):
        lay_helm(wanted)
    if not os.path.exists(HELM):
        return 0
    with tempfile.TemporaryDirectory(prefix="aiprov-helm-", dir=os.path.dirname(LOCK)) as folder:
        for chart in charts:
            patiently(partial(settle, chart, folder, lock))
        wanted_now = {key(chart) for chart in charts}
        patiently(partial(take_away, wanted_now, folder, lock))
    return 0


def patiently(step: Callable[[], None]) -> None:
    """Take a step, again once an API that was lost is back: be that late in a long installation."""
    try:
        step()
    except PassingError as error:
        tell(f"once more: {error}")
        again(step, time.monotonic() + PATIENCE_S)


def settle(chart: Chart, folder: str, lock: int) -> None:
    """Make a release as wanted, whatever state it is in."""
    release = releases(folder).get(key(chart))
    why = difference(chart, release, folder)
    if why is None:
        return
    tell(why)
    if release is not None:
        put_back(release, folder, lock)
    put_in(chart, folder, lock)


def take_away(wanted: Set[Tuple[str, str]], folder: str, lock: int) -> None:
    """Uninstall the releases of aiprov's that are wanted no more."""
    for namespace, name in sorted(set(releases(folder)) - wanted):
        must(["uninstall", name, "--namespace", namespace], folder, PULL_S, lock)
        tell(f"{name} is uninstalled")


def put_back(release: Dict[str, Any], folder: str, lock: int) -> None:
    """Take a release out of the state in which a Helm that was killed left it.

    Nobody works on it: whoever does of aiprov's, a Helm whose parent was killed too, has the lock.
    """
    where = [release["name"], "--namespace", release["namespace"]]
    if release["status"] in ("pending-install", "uninstalling"):
        must(["uninstall", *where], folder, PULL_S, lock)
    elif release["status"].startswith("pending-"):
        must(["rollback", *where], folder, PULL_S, lock)


def put_in(chart: Chart, folder: str, lock: int) -> None:
    """Fetch a chart, hold it against its checksum, and install it or the newer version of it."""
    place = tempfile.mkdtemp(dir=folder)
    archive = pulled(chart, place, lock)
    found = digest(read(archive))
    if chart["sha256"] not in (None, found):
        raise RefusedError(
            "the chart {chart} {version} of {repository} has SHA-256 {found}, not {sha256}".format(
                found=found, **chart
            ),
            "a proxy's or mirror's answer? If you mean these bytes, give their checksum",
        )
    values = os.path.join(place, "values.json")
    write(values, json.dumps(chart["values"]))
    words = ["upgrade", chart["name"], archive, "--install", "--namespace", chart["namespace"]]
    words += ["--create-namespace", "--values", values, "--reset-values", "--history-max", "5"]
    words += ["--labels", LABEL + "=true", "--timeout", "{}s".format(chart["timeout_s"])]
    words += ["--wait"] if chart["wait"] else []
    must(words, folder, chart["timeout_s"] + MORE_S, lock)
    tell("{name} {version} is installed".format(**chart))


def pulled(chart: Chart, place: str, lock: int) -> str:
    """The path of a chart's archive."""
    repository, name, version = chart["repository"], chart["chart"], chart["version"]
    if repository.startswith("/"):
        path = os.path.join(repository, f"{name}-{version}.tgz")
        if not os.path.exists(path):
            raise RefusedError(f"{path} is not there", "put the chart there, as helm pull names it")
        return path
    words = ["pull", name, "--repo", repository]
    if repository.startswith("oci://"):
        words = ["pull", "{}/{}".format(repository.rstrip("/"), name)]
    must([*words, "--version", version, "--destination", place], place, PULL_S, lock)
    archives = [one for one in os.listdir(place) if one.endswith(".tgz")]
    if len(archives) != 1:
        raise RefusedError(f"{repository} gave no chart {name} {version}", "is it in there?")
    return os.path.join(place, archives[0])


def must(words: List[str], folder: str, limit_s: float, lock: int) -> None:
    """Run Helm. Raises ``RefusedError`` with its last words where it fails."""
    done = helm(words, folder, limit_s, lock)
    if done.rc != 0:
        hints = {
            "pull": "does this host reach the repository? Give a proxy or a mirror, or put the "
            "chart into a folder of this host and give that",
            "upgrade": "look at what does not get ready (kubectl get pods -A, kubectl get events "
            "-A); the next run goes on from here",
        }
        hint = hints.get(words[0], f"ask: {HELM} list --all-namespaces")
        raise refusal(done, f"helm {words[0]} {words[1]}: {done.said}", hint)


def locked() -> int:
    """The lock's file, which goes with the last process that has it."""
    lock = os.open(LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RefusedError(
            "another kube-chart is at work, or the helm of one that was ended",
            f"wait for it; fuser {LOCK} says which process it is",
        ) from None
    return lock


def run(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    return main("kube-chart", installed, install, words, __doc__)
