"""Programs that roles lay on a host, where what has to be done there is more than one command.

Each is one file of standard-library Python (3.6 and later) that imports nothing of aiprov, asks as
well as acts (a verb that only reads answers by its exit code), says what it does on standard output
and what is wrong on standard error. They lie in ``FOLDER``, and are run as root. Those that join
and keep nodes of Kubernetes are one package beside them, since they share how a cluster is asked.
"""

from __future__ import annotations

from importlib.resources import files

from aiprov.resources import Directory, File, Resource
from aiprov.survey.facts import Facts

FOLDER = "/usr/local/lib/aiprov"

KUBERNETES = {
    "kube-node": "node", "kube-life": "life", "kube-reset": "reset", "kube-etcd": "etcd",
    "kube-certificates": "certificates", "kube-admin": "addons", "kube-cluster": "all_nodes",
    "kube-chart": "charts", "kube-manifest": "manifest",
}  # fmt: skip
"""Programs of a Kubernetes node, and the module of the package ``kube`` that each is."""
EVERY_NODE = ("kube-node", "kube-life", "kube-reset", "kube-etcd", "kube-certificates")


def path(name: str) -> str:
    """Where the program of that name lies on a host."""
    return f"{FOLDER}/{name}"


def program(name: str, host: Facts) -> list[Resource]:
    """The program of that name in place.

    It is ``aiprov/programs/<name>.py``, with ``_`` for ``-``, or a module of the package ``kube``,
    which ``kubernetes_programs`` lays.
    """
    if name in KUBERNETES:
        text = _launcher(KUBERNETES[name], host)
    else:
        source = files(__name__) / f"{name.replace('-', '_')}.py"
        text = f"#!{interpreter(host)}\n" + source.read_text(encoding="utf-8")
    return [Directory(path=FOLDER), File(path=path(name), content=text, mode=0o755)]


def kubernetes_programs(host: Facts) -> list[Resource]:
    """The package, and those of its programs that every node of a cluster has."""
    folder = f"{FOLDER}/kube"
    modules = sorted(
        (source.name, source.read_text(encoding="utf-8"))
        for source in (files(__name__) / "kube").iterdir()
        if source.name.endswith(".py")
    )
    return [
        Directory(path=FOLDER),
        Directory(path=folder),
        *(File(path=f"{folder}/{name}", content=text) for name, text in modules),
        *(item for name in EVERY_NODE for item in program(name, host)[1:]),
    ]


def _launcher(module: str, host: Facts) -> str:
    """What runs a module of the package. ``-B``: no compiled files are left beside it."""
    return (
        f"#!{interpreter(host)} -B\n"
        "import sys\n\n"
        "from kube import ended\n"
        f"from kube.{module} import run\n\n"
        "raise SystemExit(ended(run, sys.argv[1:]))\n"
    )


def interpreter(host: Facts) -> str:
    """The host's own Python. RHEL 8 has it under another name, unless a user adds one."""
    old = host.family == "redhat" and host.os_major == "8"
    return "/usr/libexec/platform-python" if old else "/usr/bin/python3"
