"""The endpoint's program: whether something listens, and what SELinux lets haproxy do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from aiprov.programs import kube_endpoint
from tests.processes.called import called
from tests.pythons import needed

BOOLEANS = ("haproxy_connect_any", "keepalived_connect_any")

GETENFORCE = "#!/bin/sh\necho {mode}\n"
GETSEBOOL = """#!/bin/sh
test -e {folder}/$1 || {{ echo "Error getting active value for $1"; exit 1; }}
echo "$1 --> $(cat {folder}/$1)"
"""
SETSEBOOL = """#!/bin/sh
test -e {folder}/denied && {{ echo "Could not change policy booleans"; exit 1; }}
echo $3 > {folder}/$2
"""


def run(folder: Path, *words: str, version: str = "3.12") -> tuple[int, str]:
    argv = [needed(version), kube_endpoint.__file__, *words]
    return called(argv, {"PATH": f"{folder}:/usr/bin:/bin"})


def selinux(folder: Path, mode: str, **booleans: str) -> None:
    """A host's SELinux: its mode, and the booleans that its policy has."""
    texts = {"getenforce": GETENFORCE, "getsebool": GETSEBOOL, "setsebool": SETSEBOOL}
    for name, text in texts.items():
        program = folder / name
        program.write_text(text.format(folder=folder, mode=mode))
        program.chmod(0o755)
    for name, value in booleans.items():
        (folder / name).write_text(value)


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_who_listens_is_alive(tmp_path: Path, version: str):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        assert run(tmp_path, "alive", "127.0.0.1", port, version=version) == (0, "")
    status, said = run(tmp_path, "alive", "127.0.0.1", port, version=version)
    assert status == 1
    assert said.startswith(f"127.0.0.1 port {port}: ")


def test_an_ipv6_address_is_asked_too(tmp_path: Path):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = str(listening.getsockname()[1])
        assert run(tmp_path, "alive", "::1", port) == (0, "")


def test_selinux_is_told_once(tmp_path: Path):
    selinux(tmp_path, "Enforcing", haproxy_connect_any="off", keepalived_connect_any="off")
    off = "".join(f"SELinux: {name} is off\n" for name in BOOLEANS)
    assert run(tmp_path, "selinux-allows", *BOOLEANS) == (1, off)
    assert run(tmp_path, "selinux-allow", *BOOLEANS) == (0, off.replace("off", "on"))
    assert run(tmp_path, "selinux-allows", *BOOLEANS) == (0, "")
    assert run(tmp_path, "selinux-allow", *BOOLEANS) == (0, "")


def test_a_policy_without_a_boolean_does_not_confine_by_it(tmp_path: Path):
    selinux(tmp_path, "Permissive", haproxy_connect_any="on")
    assert run(tmp_path, "selinux-allows", *BOOLEANS) == (0, "")


def test_selinux_that_is_off_or_not_there_allows(tmp_path: Path):
    assert run(tmp_path, "selinux-allows", *BOOLEANS) == (0, "")
    selinux(tmp_path, "Disabled", haproxy_connect_any="off")
    assert run(tmp_path, "selinux-allows", *BOOLEANS) == (0, "")
    assert run(tmp_path, "selinux-allow", *BOOLEANS) == (0, "")


def test_selinux_that_refuses_is_told(tmp_path: Path):
    selinux(tmp_path, "Enforcing", haproxy_connect_any="off")
    (tmp_path / "denied").touch()
    status, said = run(tmp_path, "selinux-allow", *BOOLEANS)
    assert status == 2
    assert "does not take haproxy_connect_any: Could not change policy booleans\nhint: " in said


def test_alive_needs_an_address_and_a_port(tmp_path: Path):
    status, said = run(tmp_path, "alive", "127.0.0.1")
    assert status == 2
    assert "alive needs an address and a port" in said
