"""Whether the container runtimes that run have an OCI runtime: asked of the daemons themselves.

    runtime-check --runtime NAME=BINARY [--default] [--cgroup systemd|cgroupfs] [--cdi FILE]
                  docker|containerd|crio ...

Exits 0 where all of it is so, and 1 with one line on standard error for each thing that is not.
A file that says so is not enough: containerd may not import it, another containerd may run, or the
daemon may have been started before. So Docker and CRI-O are asked over their sockets, containerd by
the binary and the configuration of the process that runs. Changes nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from typing import Any, Dict, List, Optional, Tuple

TIMEOUT_S = 20
RUNC = "io.containerd.runc.v2"
_KEY = r"'[^']*'|\"[^\"]*\"|[A-Za-z0-9_-]+"


class UnansweredError(Exception):
    """A daemon that did not answer, and why."""


def said(argv: List[str]) -> str:
    """What a command prints. Raises ``UnansweredError``."""
    try:
        done = subprocess.run(  # noqa: UP022  Python 3.6 has no capture_output
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise UnansweredError(f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise UnansweredError(f"{' '.join(argv)} did not end in {TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UnansweredError("{}: {}".format(" ".join(argv), "".join(last) or done.returncode))
    return done.stdout.decode(errors="replace")


def tables(text: str) -> Dict[Tuple[str, ...], Dict[str, str]]:
    """The tables of a TOML document as daemons dump it, and the plain values in them as text.

    Not a parser of TOML: lists and what spans lines is passed over.
    """
    found = {(): {}}  # type: Dict[Tuple[str, ...], Dict[str, str]]
    here = found[()]
    for line in text.splitlines():
        words = line.strip()
        head = re.match(rf"\[((?:{_KEY})(?:\.(?:{_KEY}))*)\]$", words)
        if head:
            path = tuple(key.strip("'\"") for key in re.findall(_KEY, head.group(1)))
            here = found.setdefault(path, {})
            continue
        pair = re.match(rf"({_KEY})\s*=\s*('[^']*'|\"[^\"]*\"|true|false|-?[0-9]+)$", words)
        if pair:
            here[pair.group(1).strip("'\"")] = pair.group(2).strip("'\"")
    return found


def docker(asked: Any) -> List[str]:
    """What Docker lacks."""
    info = json.loads(said(["docker", "info", "--format", "{{json .}}"]))
    if info.get("ServerErrors"):
        raise UnansweredError("; ".join(info["ServerErrors"]))
    lacks = []
    runtime = (info.get("Runtimes") or {}).get(asked.name)
    if runtime is None:
        lacks.append(f"has no runtime {asked.name}")
    elif runtime.get("path") != asked.binary:
        lacks.append(differs(asked, runtime.get("path")))
    if asked.default and info.get("DefaultRuntime") != asked.name:
        lacks.append("has {} as its default runtime".format(info.get("DefaultRuntime")))
    # Docker tells of CDI since 25.0, which is when it came.
    if asked.cdi and "CDISpecDirs" in info and not info["CDISpecDirs"]:
        lacks.append("has CDI switched off (features.cdi in daemon.json)")
    return lacks


def differs(asked: Any, path: Optional[str]) -> str:
    return f"has another runtime {asked.name}: {path}, not {asked.binary}"


def containerd(asked: Any) -> List[str]:
    """What containerd lacks, whose configuration has the CRI in one of two plugins."""
    found = tables(said([*running_containerd(), "config", "dump"]))
    for plugin in ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"):
        cri = ("plugins", plugin, "containerd")
        if (*cri, "runtimes", "runc") in found or (*cri, "runtimes", asked.name) in found:
            return cri_lacks(asked, found, cri)
    return ["has no runtimes at all in its CRI plugin; disabled_plugins may name it"]


def cri_lacks(
    asked: Any, found: Dict[Tuple[str, ...], Dict[str, str]], cri: Tuple[str, ...]
) -> List[str]:
    table = found.get((*cri, "runtimes", asked.name))
    if table is None:
        return [f"has no runtime {asked.name}"]
    lacks = []
    options = found.get((*cri, "runtimes", asked.name, "options"), {})
    kind = table.get("runtime_type")
    if kind != RUNC:
        lacks.append(f"has runtime {asked.name} of type {kind!r}, not {RUNC}")
    if options.get("BinaryName") != asked.binary:
        lacks.append(differs(asked, options.get("BinaryName")))
    systemd = options.get("SystemdCgroup") == "true"
    if asked.cgroup and systemd != (asked.cgroup == "systemd"):
        lacks.append(f"has SystemdCgroup = {str(systemd).lower()} for {asked.name}")
    default = found.get(cri, {}).get("default_runtime_name")
    if asked.default and default != asked.name:
        lacks.append(f"has {default} as its default runtime")
    enabled = found.get(cri[:-1], {}).get("enable_cdi")
    if asked.cdi and enabled == "false":
        lacks.append("has CDI switched off (enable_cdi)")
    return lacks


def running_containerd() -> List[str]:
    """The binary of the containerd that runs, and the configuration that it was given."""
    shown = said(["systemctl", "show", "--property=MainPID", "containerd.service"])
    pid = shown.strip().partition("=")[2]
    if pid in ("", "0"):
        raise UnansweredError("containerd.service does not run")
    try:
        binary = os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            words = source.read().decode(errors="replace").split("\0")
    except OSError as error:
        raise UnansweredError("containerd.service ended while it was looked at") from error
    # A binary that was replaced is still what runs; its successor reads the configuration now.
    command = [binary.replace(" (deleted)", "")]
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config", "-c", "-config"):
            command += ["--config", value if equals else words[number + 1]]
    return command


def crio(asked: Any) -> List[str]:
    """What CRI-O lacks."""
    found = tables(said(["crio", "status", "config"]))
    table = found.get(("crio", "runtime", "runtimes", asked.name))
    if table is None:
        return [f"has no runtime {asked.name}"]
    lacks = []
    if table.get("runtime_path") != asked.binary:
        lacks.append(differs(asked, table.get("runtime_path")))
    default = found.get(("crio", "runtime"), {}).get("default_runtime")
    if asked.default and default != asked.name:
        lacks.append(f"has {default} as its default runtime")
    return lacks


def specification(asked: Any) -> List[str]:
    """What the CDI specification lacks."""
    try:
        with open(asked.cdi, encoding="utf-8") as source:
            text = source.read()
    except OSError:
        return ["is not there: systemctl status nvidia-cdi-refresh.service tells why"]
    if not re.search(r"^[\"']?kind[\"']?: *[\"']?nvidia\.com/gpu[\"']?,?$", text, re.MULTILINE):
        return ["is of no kind nvidia.com/gpu"]
    return []


def arguments(words: List[str]) -> Any:
    parser = argparse.ArgumentParser(prog="runtime-check")
    parser.add_argument("--runtime", required=True, metavar="NAME=BINARY")
    parser.add_argument("--default", action="store_true")
    parser.add_argument("--cgroup", choices=("systemd", "cgroupfs"))
    parser.add_argument("--cdi", metavar="FILE")
    parser.add_argument("daemons", nargs="+", choices=("docker", "containerd", "crio"))
    asked = parser.parse_args(words)
    asked.name, _, asked.binary = asked.runtime.partition("=")
    return asked


def main(words: List[str]) -> int:
    """Ask all of them, and tell everything that is missing."""
    asked = arguments(words)
    wrong = []
    if not os.access(asked.binary, os.X_OK):
        wrong.append(f"{asked.binary} is not there, or cannot be run")
    ask = {"docker": docker, "containerd": containerd, "crio": crio}
    for name in asked.daemons:
        try:
            wrong += [f"{name} {lack}" for lack in ask[name](asked)]
        except UnansweredError as error:
            wrong.append(f"{name} does not answer: {error}")
    if asked.cdi:
        wrong += [f"{asked.cdi} {lack}" for lack in specification(asked)]
    for line in wrong:
        sys.stderr.write(f"runtime-check: {line}\n")
    if not wrong:
        sys.stdout.write("{} have {}\n".format(", ".join(asked.daemons), asked.name))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
