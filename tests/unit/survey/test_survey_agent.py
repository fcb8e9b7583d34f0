"""The agent itself, under every Python that a managed host may have."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aiprov.survey import wire
from tests.pythons import offered

FLAGS = ("-I", "-S", "-B")
VERSIONS = tuple(f"3.{minor}" for minor in range(6, 15))


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    return offered(request.param)


def ask(python: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    done = subprocess.run(
        [python, "-"], input=wire.one_shot(request), capture_output=True, timeout=30, check=True
    )
    assert done.stderr == b""
    return wire.parse_reply(b"Welcome!\r\n" + done.stdout + b"logout\n")


def ask_state(**request: Any) -> Mapping[str, Any]:
    return ask(sys.executable, {"ask": "state", **request})


def want(**changed: Any) -> dict[str, Any]:
    return {"read": True, "send": True, "sha256": None, **changed}


def test_facts_under_every_python(python: str) -> None:
    answer = ask(python, {"ask": "facts"})
    assert answer["uname"] == list(os.uname())
    assert answer["cpus"] == os.cpu_count()
    assert "MemTotal" in answer["files"]["/proc/meminfo"]


def test_state_under_every_python(python: str, tmp_path: Path) -> None:
    file = tmp_path / "naïve \N{ROCKET} \\ \"'"
    text = "one\r\n\ttwo \N{ROCKET} \x7f\u2028 \\u0041"
    file.write_text(text, encoding="utf-8", newline="")
    file.chmod(0o640)
    answer = ask(
        python,
        {
            "ask": "state",
            "paths": {str(file): want(), str(tmp_path / "none"): want()},
            "commands": {"good": ["true"], "bad": ["false"], "none": ["no such program"]},
            "users": ["root"],
            "groups": ["root"],
            "sysctls": ["kernel/ostype"],
            "modules": ["no_such_module"],
        },
    )
    found = answer["paths"][str(file)]
    assert found["content"] == text
    assert found["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found["mode"] == 0o640
    assert answer["paths"][str(tmp_path / "none")] == {"type": "absent"}
    assert [answer["commands"][key][0] for key in ("good", "bad", "none")] == [0, 1, 127]
    assert answer["accounts"]["users"]["root"][:2] == ["0", "0"]
    assert answer["accounts"]["groups"]["root"] == "0"
    assert answer["sysctls"]["kernel/ostype"] == "Linux\n"
    assert answer["modules"]["no_such_module"] in (False, None)  # None: there are modules at all


def test_a_conversation_under_every_python(python: str) -> None:
    lines = wire.agent_line() + wire.request_line({"ask": "facts"})
    lines += wire.request_line({"ask": "state", "groups": ["root"]})
    starter = (
        "import sys,binascii,zlib;"
        "exec(zlib.decompress(binascii.a2b_base64(sys.stdin.buffer.readline())))"
    )
    done = subprocess.run(
        [python, *FLAGS, "-c", starter], input=lines, capture_output=True, timeout=30, check=True
    )
    first, second = done.stdout.splitlines(keepends=True)
    assert "uname" in wire.parse_reply(first)
    assert wire.parse_reply(second)["accounts"]["groups"] == {"root": "0"}


def test_it_writes_no_bytecode(python: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [python, "-v", "-"],
        input=wire.one_shot({"ask": "state", "paths": {"/etc/passwd": want()}}),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"# wrote" not in done.stderr


def test_kinds_of_paths(tmp_path: Path) -> None:
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to("/nowhere")
    os.mkfifo(fifo)
    asked = {str(path): want() for path in (tmp_path, link, fifo)}
    found = ask_state(paths=asked)["paths"]
    assert found[str(tmp_path)]["type"] == "directory"
    assert found[str(link)]["type"] == "link"
    assert found[str(link)]["target"] == "/nowhere"
    assert found[str(fifo)]["type"] == "other"  # and reading it would have waited for ever


def test_text_is_sent_only_where_it_is_asked_for_and_differs(tmp_path: Path) -> None:
    same, secret, big, binary = (tmp_path / name for name in ("same", "secret", "big", "binary"))
    same.write_text("same")
    secret.write_text("secret")
    big.write_bytes(b"x" * (1 << 20) + b"y")
    binary.write_bytes(b"\xff\xfe")
    digest = hashlib.sha256(b"same").hexdigest()
    found = ask_state(
        paths={
            str(same): want(sha256=digest),
            str(secret): want(send=False),
            str(big): want(),
            str(binary): want(),
        }
    )["paths"]
    assert [found[str(path)]["content"] for path in (same, secret, big, binary)] == [None] * 4
    assert found[str(big)]["sha256"] == hashlib.sha256(big.read_bytes()).hexdigest()


def test_a_path_below_a_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "below")
    assert ask_state(paths={path: want()})["paths"][path] == {"type": "absent"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0)
    path = str(tmp_path / "file")
    assert ask_state(paths={path: want()})["paths"][path]["error"] == "Permission denied"


def test_commands_run_side_by_side_and_are_ended_in_time(tmp_path: Path) -> None:
    source = wire.one_shot(
        {
            "ask": "state",
            "commands": {
                "slow": ["sh", "-c", "sleep 60 & wait"],
                "mute": ["sh", "-c", "exec >&- 2>&-; sleep 60"],
                "ends": ["sh", "-c", f"sleep 0.2; touch {tmp_path}/x; echo out; echo err >&2"],
            },
        }
    )
    agent = (Path(wire.__file__).with_name("agent.py")).read_text()
    shorter = agent.replace("COMMAND_S = 30.0", "COMMAND_S = 5.0")
    assert shorter != agent
    program = shorter.replace('if __name__ == "__main__":\n    main()', "main()")
    request = next(line for line in source.decode().splitlines() if line.startswith("REQUEST"))
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", f"{request}\n{program}"], capture_output=True, timeout=30, check=True
    )
    found = wire.parse_reply(done.stdout)["commands"]
    assert found["slow"][0] is None
    assert found["mute"][0] is None
    assert found["ends"] == [0, "out\n", "err\n"]
    assert time.monotonic() - started < 20


def test_a_failure_inside_is_an_answer() -> None:
    answer = ask(sys.executable, {"ask": "state", "paths": 5})
    assert "Traceback" in answer["error"]


def test_it_leaves_the_files_it_reads_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    before = file.stat()
    ask_state(paths={str(file): want()}, ctimes=[str(file)])
    after = file.stat()
    assert stat.S_IMODE(after.st_mode) == stat.S_IMODE(before.st_mode)
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


DPKG = """Package: docker-ce
Status: hold ok installed
Architecture: amd64
Version: 5:29.4.3-1~debian.12~bookworm
Description: the daemon
 Package: decoy
 Version: 1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: half
Status: install ok half-configured
Architecture: amd64
Version: 2.0

Package: both
Status: deinstall ok config-files
Architecture: i386
Version: 3.0

Package: both
Status: install ok installed
Architecture: amd64
Version: 3.1

Package: last
Status: install ok triggers-awaited
Architecture: all
Version: 4.0
"""


def agent(words: Mapping[str, str]) -> dict[str, Any]:
    """What the agent defines, with these words of its text replaced."""
    names: dict[str, Any] = {"__name__": "agent"}
    source = Path(wire.__file__).with_name("agent.py").read_text()
    for old, new in words.items():
        source = source.replace(old, new)
    exec(compile(source, "agent", "exec"), names)
    return names


def test_dpkg_status_is_read_as_dpkg_means_it(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(DPKG)
    names = agent({"/var/lib/dpkg/status": str(status)})
    found = names["dpkg"](["docker-ce", "gone", "half", "both", "last", "none", "decoy"])
    assert found == {
        "docker-ce": ["5:29.4.3-1~debian.12~bookworm", True],
        "both": ["3.1", False],
        "last": ["4.0", False],
    }


def test_a_dpkg_that_does_not_answer_is_no_dpkg_without_packages(tmp_path: Path) -> None:
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / "0001").touch()
    query = tmp_path / "dpkg-query"
    places = {"/var/lib/dpkg": str(tmp_path), '"dpkg-query"': f'"{query}"', "= 30.0": "= 0.5"}
    names = agent(places)
    for script, said in (("exec sleep 60", "None"), ("echo no database >&2; exit 2", "no data")):
        query.write_text(f"#!/bin/sh\n{script}\n")
        query.chmod(0o755)
        with pytest.raises(OSError, match=f"dpkg-query does not answer: .*{said}"):
            names["dpkg"](["docker-ce"])
    query.write_text("#!/bin/sh\necho no packages found matching docker-ce >&2; exit 1\n")
    assert names["dpkg"](["docker-ce"]) == {}


def test_a_bus_that_may_not_be_looked_at_is_no_bus_without_devices(tmp_path: Path) -> None:
    bus = tmp_path / "devices"
    names = agent({"/sys/bus/pci/devices": str(bus)})
    assert names["facts"]({})["pci"] == {}
    bus.touch()  # root may look everywhere: a file is as unreadable to it as a folder can be
    with pytest.raises(NotADirectoryError):
        names["facts"]({})


def test_what_a_package_came_with_is_told() -> None:
    answer = ask_state(manager="dpkg", packages=["libc6", "no-such-package"],
                       sets=["libc6", "no-such-package"])  # fmt: skip
    version, _ = answer["packages"]["libc6"]
    assert answer["companions"]["libc6"] == version
    assert answer["companions"].get("libc-bin") == version  # of the same source
    assert set(answer["companions"].values()) == {version}


@pytest.mark.parametrize(
    ("script", "there"),
    [("exit 1", None), ("exit 0", False), ("exit 127", False), ("exec sleep 60", False)],
)
def test_a_module_is_missing_only_where_modprobe_knows(
    tmp_path: Path, script: str, there: bool | None
) -> None:
    kernel, modprobe = tmp_path / "lib" / os.uname().release, tmp_path / "modprobe"
    places = {"/lib/modules/": f"{tmp_path}/lib/", "/sys/module/": f"{tmp_path}/sys/"}
    names = agent({**places, '"modprobe"': f'"{modprobe}"', "= 30.0": "= 0.5"})
    modprobe.write_text(f'#!/bin/sh\n[ "$*" = "-nq ip_vs" ] || exit 9\n{script}\n')
    modprobe.chmod(0o755)
    assert names["modules"](["ip_vs"]) == {"ip_vs": False}  # no module at all: it cannot tell
    kernel.mkdir(parents=True)
    (kernel / "modules.dep").touch()
    (kernel / "modules.builtin").write_text("kernel/net/br-netfilter.ko\n")
    (tmp_path / "sys" / "overlay").mkdir(parents=True)
    found = names["modules"](["overlay", "br_netfilter", "ip_vs"])
    assert found == {"overlay": True, "br_netfilter": True, "ip_vs": there}
