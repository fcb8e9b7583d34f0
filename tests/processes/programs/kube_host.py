"""A made-up host for the kube programs: files below a root, and tools that the test answers for."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.processes.programs.kube_servers import Authority, Members, Objects, Server
from tests.pythons import needed

PACKAGE = Path("aiprov/programs/kube").resolve()
TOOLS = ("kubeadm", "kubelet", "systemctl", "crictl", "ip", "iptables-save", "iptables-restore",
         "ip6tables-save", "ip6tables-restore", "ipset", "ipvsadm", "nft", "umount")  # fmt: skip
FORWARD = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect("{socket}")
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    test.sendall(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:], text]).encode())
    test.shutdown(socket.SHUT_WR)
    said = b"".join(iter(lambda: test.recv(65536), b""))
status, out = json.loads(said or b'[9, "the test is over"]')
sys.stdout.write(out)
sys.exit(status)
"""
_NUMBERS = count(0)
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

Answer = tuple[int, str]


def addresses(number: int) -> list[str]:
    """Loopback addresses that no other test of this machine has at the time."""
    pid = os.getpid()
    start = next(_NUMBERS) * 4 % 240 + 1
    return [f"127.{1 + (pid >> 8) % 250}.{pid % 256}.{start + one}" for one in range(number)]


class Host:
    """One host. What its tools are asked is in ``called``; ``on`` holds what they answer."""

    def __init__(self, root: Path, python: str, authority: Authority, address: str) -> None:
        self.root = root
        self.python = python
        self.authority = authority
        self.address = address
        self.called: list[list[str]] = []
        self.on: dict[str, Callable[[list[str], str], Answer]] = {}
        self.servers: dict[int, Server] = {}
        self.objects = Objects()
        self.members = Members()
        self.tools = root / "tools"
        self.tools.mkdir()
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(str(root / "door"))
        self.door.listen(50)
        for tool in TOOLS:
            text = FORWARD.format(python=sys.executable, socket=root / "door")
            (self.tools / tool).write_text(text)
            (self.tools / tool).chmod(0o755)
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                caller = self.door.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._one, args=(caller,), daemon=True).start()

    def _one(self, caller: socket.socket) -> None:
        with caller:
            said = b"".join(iter(lambda: caller.recv(65536), b""))
            *argv, text = json.loads(said)
            self.called.append(argv)
            answer = self.on.get(argv[0])
            caller.sendall(json.dumps(answer(argv, text) if answer else (0, "")).encode())

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str = "") -> None:
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.file(path).write_text(text)

    def serve(self, port: int, answer: Any, authority: Authority | None = None) -> None:
        self.stop(port)
        self.servers[port] = Server(self.root, (self.address, port), answer, authority)

    def stop(self, port: int) -> None:
        if port in self.servers:
            self.servers.pop(port).stop()

    def describe(self, **other: Any) -> None:
        """node.json, as of a worker unless said otherwise."""
        values: dict[str, Any] = {
            "format_version": 1, "name": "one", "control_plane": False, "worker": True,
            "first": False, "endpoint": f"{self.address}:6443", "api_port": 6443,
            "address": self.address, "peers": [], "version": "1.36.4",
            "cri_socket": "/run/cri.sock", "patches": None, "init_arguments": [],
            "ignore_preflight_errors": [], "wait_s": 1.0, "labels": {},
            "taints": [], "modules": ["overlay"], "swap_refused": True, "token_id": "abcdef",
            "kubelet_healthz": f"{self.address}:10248",
        }  # fmt: skip
        self.write("/etc/kubernetes/aiprov/node.json", json.dumps({**values, **other}))

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "AIPROV_TEST_ROOT": str(self.root),
            "AIPROV_TEST_PAUSE_S": "0.05",
            "AIPROV_TEST_STALE_S": "1",
            "AIPROV_TEST_QUIET_S": "0.2",
        }

    def start(self, program: str, verb: str) -> subprocess.Popen[str]:
        """The program as it is laid on hosts: a launcher beside the package."""
        return subprocess.Popen(
            [*command(self.python, program), verb],
            env=self.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def begin(self, program: str, verb: str, given: str, until: str = "") -> subprocess.Popen[str]:
        """Start it with all that it is given, and read on until a line of its output has this."""
        process = self.start(program, verb)
        assert process.stdin and process.stdout
        process.stdin.write(given)
        process.stdin.close()
        process.stdin = None
        while until and until not in (line := process.stdout.readline()):
            assert line
        return process

    def run(self, program: str, verb: str, given: str = "") -> tuple[int, str, str]:
        """Exit status, output, errors."""
        process = self.start(program, verb)
        said, wrong = process.communicate(given, timeout=60)
        return process.returncode, said, wrong

    def kubeadm(self) -> list[str]:
        """What kubeadm was asked to do, without questions."""
        asked = [" ".join(argv[1:]) for argv in self.called if argv[0] == "kubeadm"]
        return [words for words in asked if not words.startswith("version")]

    def close(self) -> None:
        self.door.close()
        for server in self.servers.values():
            server.stop()


def command(python: str, module: str) -> list[str]:
    """A program of the package as a host runs it: by a launcher beside the package."""
    text = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
    text += f"from kube.{module} import run; raise SystemExit(run(sys.argv[1:]))"
    return [python, "-B", "-c", text]


def oldest() -> str:
    """The oldest Python that hosts have."""
    return needed("3.6")


BOTH = {"argvalues": [None, sys.executable], "ids": ["3.6", "now"], "indirect": True}
"""For ``pytest.mark.parametrize``: a test is run with this Python too."""


@contextmanager
def made(python: str, authority: Authority, address: str) -> Iterator[Host]:
    """A host that could join: its kernel, its runtime, its kubeadm are as they should be."""
    root = Path(tempfile.mkdtemp(prefix="kube", dir="/tmp"))
    one = Host(root, python, authority, address)
    one.on["kubeadm"] = lambda argv, _: (0, "v1.36.4\n" if argv[1] == "version" else "")
    one.write("/proc/swaps", "Filename Type Size Used Priority\n")
    one.write("/proc/sys/net/ipv4/ip_forward", "1\n")
    one.file("/sys/module/overlay").mkdir(parents=True)
    one.file("/run").mkdir(exist_ok=True)
    runtime = socket.socket(socket.AF_UNIX)
    runtime.bind(str(one.file("/run/cri.sock")))
    runtime.listen(5)
    try:
        yield one
    finally:
        runtime.close()
        one.close()
        shutil.rmtree(root)
