#!/usr/bin/python3
"""Stand-in of aiprov's lab: nvidia-ctk, for CDI specifications and its own configuration.

Command line and formats: NVIDIA/nvidia-container-toolkit 1.20.0, cmd/nvidia-ctk (2026-11-21).
"""

import argparse
import glob
import json
import os
import re
import stat
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Tuple

VERSION = "@VERSION@"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
IN_CONTAINER = "/run/aiprov-lab/container/nvidia-smi"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_CONTROL = ("nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools")
_GPU = re.compile(r"^GPU (\d+): (.*) \(UUID: (GPU-[^)]+)\)")
_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)")

Edits = Dict[str, Any]


class Failed(Exception):
    """The command fails with these words."""


def log(text: str) -> None:
    """Say something as the vendor's program does."""
    print('time="2026-11-21T00:00:00Z" level=info msg="%s"' % text, file=sys.stderr)


def listing() -> List[str]:
    """What ``nvidia-smi -L`` says. Raises ``Failed`` where there is no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )
    except OSError:
        raise Failed("failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND") from None
    if done.returncode:
        said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        mixed = "mismatch" in said
        raise Failed(
            "failed to create device CDI specs: failed to initialize NVML: %s"
            % ("ERROR_LIB_RM_VERSION_MISMATCH" if mixed else "ERROR_DRIVER_NOT_LOADED")
        )
    return done.stdout.decode(errors="replace").splitlines()


def devices(lines: List[str]) -> Iterator[Tuple[List[str], int]]:
    """Names of each device, and the GPU that it is on. A GPU in MIG mode is no device itself."""
    gpus: Dict[int, str] = {}
    parts: List[Tuple[int, int, str]] = []
    index = -1
    for line in lines:
        gpu, mig = _GPU.match(line), _MIG.match(line)
        if gpu:
            index = int(gpu.group(1))
            gpus[index] = gpu.group(3)
        elif mig:
            parts.append((index, int(mig.group(2)), mig.group(3)))
    split = {parent for parent, _, _ in parts}
    for number, uuid in gpus.items():
        if number not in split:
            yield [str(number), uuid], number
    for parent, number, uuid in parts:
        yield ["%d:%d" % (parent, number), uuid], parent


def node(path: str) -> Dict[str, Any]:
    """A device node of the specification."""
    return {"path": path}


def gpu_nodes(index: int) -> List[Dict[str, Any]]:
    return [node("/dev/nvidia%d" % index)]


def specification(strategies: List[str]) -> Dict[str, Any]:
    """The CDI specification of this host's GPUs."""
    lines = listing()
    found = list(devices(lines))
    chosen: List[Dict[str, Any]] = []
    for names, gpu in found:
        wanted = [name for name, kind in zip(names, ("index", "uuid")) if kind in strategies]
        chosen += [
            {"name": name, "containerEdits": {"deviceNodes": gpu_nodes(gpu)}} for name in wanted
        ]
    every = sorted({gpu for _, gpu in found})
    nodes = [entry for gpu in every for entry in gpu_nodes(gpu)]
    chosen.append({"name": "all", "containerEdits": {"deviceNodes": nodes}})
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": chosen,
        "containerEdits": shared(lines),
    }


def shared(lines: List[str]) -> Edits:
    """What every container with a GPU gets."""
    control = ["/dev/" + name for name in _CONTROL if os.path.exists("/dev/" + name)]
    write_container_smi(lines)
    mounts = [{"hostPath": IN_CONTAINER, "containerPath": "/usr/bin/nvidia-smi"}]
    for pattern in ("libnvidia-ml.so.*", "libcuda.so.*", "libnvidia-ptxjitcompiler.so.*"):
        for path in sorted(glob.glob(os.path.join(LIBRARIES, pattern))):
            if not os.path.islink(path):
                mounts.append({"hostPath": path, "containerPath": path})
    options = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
    return {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [node(path) for path in control],
        "mounts": [dict(mount, options=options) for mount in mounts],
    }


def write_container_smi(lines: List[str]) -> None:
    """What answers as nvidia-smi inside a container: any shell runs it, of the nodes it sees."""
    blocks: Dict[int, List[str]] = {}
    index = -1
    for line in lines:
        gpu = _GPU.match(line)
        index = int(gpu.group(1)) if gpu else index
        blocks.setdefault(index, []).append(line)
    text = "#!/bin/sh\n# Stand-in of aiprov's lab: nvidia-smi -L in a container.\n"
    for number, block in blocks.items():
        told = "\n".join(block).replace("'", "")
        text += "if [ -e /dev/nvidia%d ]; then echo '%s'; fi\n" % (number, told)
    os.makedirs(os.path.dirname(IN_CONTAINER), exist_ok=True)
    with open(IN_CONTAINER + ".new", "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(IN_CONTAINER + ".new", 0o755)
    os.replace(IN_CONTAINER + ".new", IN_CONTAINER)


def yaml(value: Any, indent: int = 0) -> Iterator[str]:
    """Lines of YAML for what a specification is made of."""
    pad = " " * indent
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)) and inner:
                yield "%s%s:" % (pad, key)
                yield from yaml(inner, indent + 4)
            else:
                yield "%s%s: %s" % (pad, key, json.dumps(inner))
        return
    for inner in value:
        if isinstance(inner, dict):
            lines = list(yaml(inner, indent + 2))
            yield "%s- %s" % (pad, lines[0].lstrip())
            yield from lines[1:]
        else:
            yield "%s- %s" % (pad, json.dumps(inner))


def generate(given: argparse.Namespace) -> None:
    """``cdi generate``"""
    spec = specification(given.device_name_strategy or ["index", "uuid"])
    output = given.output or os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", "")
    form = given.format or ("json" if output.endswith(".json") else "yaml")
    text = json.dumps(spec, indent=2) if form == "json" else "---\n" + "\n".join(yaml(spec))
    log("Generated CDI spec with version %s" % spec["cdiVersion"])
    if not output:
        print(text)
        return
    os.makedirs(os.path.dirname(output), exist_ok=True)
    with open(output + ".new", "w", encoding="utf-8") as out:
        out.write(text + "\n")
    os.replace(output + ".new", output)


def listed(given: argparse.Namespace) -> None:
    """``cdi list``"""
    names = []
    for folder in given.spec_dir or ["/etc/cdi", "/var/run/cdi"]:
        for path in sorted(glob.glob(folder + "/*.yaml") + glob.glob(folder + "/*.json")):
            with open(path, encoding="utf-8") as source:
                text = source.read()
            kind = re.search(r'"?kind"?: "?([^",\s]+)', text)
            found = re.findall(r'^\s*-? ?"?name"?: "?([^",\s]+)', text, re.MULTILINE)
            names += ["%s=%s" % (kind.group(1) if kind else "?", name) for name in found]
    log("Found %d CDI devices" % len(names))
    for name in names:
        print(name)


def configure(given: argparse.Namespace) -> None:
    """``config``: print it, or change keys of it."""
    try:
        with open(given.config_file, encoding="utf-8") as source:
            text = source.read()
    except OSError as error:
        raise Failed("unable to load config file: %s" % error) from None
    for setting in given.set or []:
        key, _, value = setting.partition("=")
        text = changed(text, key, value or "true")
    target = given.config_file if given.in_place else given.output
    if not target:
        print(text, end="")
        return
    with open(target + ".new", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(target + ".new", target)


def changed(text: str, key: str, value: str) -> str:
    """The configuration with a key set: where it is, where it is commented out, or anew."""
    section, _, name = key.rpartition(".")
    plain = value in ("true", "false") or value.isdigit()
    if not plain:
        value = (
            "[%s]" % ", ".join(map(json.dumps, value.split(",")))
            if "," in value
            else (json.dumps(value))
        )
    line = "%s = %s" % (name, value)
    lines = text.splitlines()
    heads = [number for number, row in enumerate(lines) if row.startswith("[")] + [len(lines)]
    if section and "[%s]" % section not in lines:
        return "%s\n\n[%s]\n%s\n" % (text.rstrip("\n"), section, line)
    start = lines.index("[%s]" % section) + 1 if section else 0
    end = next(number for number in heads if number >= start)
    for number in range(start, end):
        if re.match(r"#?\s*%s\s*=" % re.escape(name), lines[number]):
            lines[number] = line
            break
    else:
        lines.insert(start, line)
    return "\n".join(lines) + "\n"


def character_links(given: argparse.Namespace) -> None:
    """``system create-dev-char-symlinks``"""
    if not given.create_all:
        raise Failed("only --create-all is known to this stand-in of aiprov's lab")
    os.makedirs(given.dev_char_path, exist_ok=True)
    for path in sorted(glob.glob("/dev/nvidia*")):
        status = os.stat(path)
        if not stat.S_ISCHR(status.st_mode):
            continue
        name = "%d:%d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
        link = os.path.join(given.dev_char_path, name)
        if os.path.lexists(link):
            log("Skipping creation of %s: it exists" % link)
        else:
            os.symlink(path, link)


def arguments() -> argparse.ArgumentParser:
    """The command line: the parts of the vendor's that this stand-in knows."""
    parser = argparse.ArgumentParser(
        prog="nvidia-ctk", description="Stand-in of aiprov's lab for the NVIDIA Container Toolkit."
    )
    version = "NVIDIA Container Toolkit CLI version %s\ncommit: none (stand-in of aiprov's lab)"
    parser.add_argument("-v", "--version", action="store_true")
    parser.set_defaults(told=version % VERSION)
    verbs = parser.add_subparsers(dest="verb")
    cdi = verbs.add_parser("cdi").add_subparsers(dest="what")
    make = cdi.add_parser("generate")
    make.add_argument("--output")
    make.add_argument("--format", choices=["yaml", "json"])
    make.add_argument("--device-name-strategy", action="append", choices=["index", "uuid"])
    make.set_defaults(act=generate)
    show = cdi.add_parser("list")
    show.add_argument("--spec-dir", action="append")
    show.set_defaults(act=listed)
    config = verbs.add_parser("config")
    config.add_argument("-c", "--config-file", "--config", dest="config_file", default=CONFIG)
    config.add_argument("--in-place", "-i", action="store_true")
    config.add_argument("--output", "-o")
    config.add_argument("--set", action="append")
    config.set_defaults(act=configure)
    system = verbs.add_parser("system").add_subparsers(dest="what")
    links = system.add_parser("create-dev-char-symlinks")
    links.add_argument("--create-all", action="store_true")
    links.add_argument("--dev-char-path", default="/dev/char")
    links.set_defaults(act=character_links)
    return parser


def main() -> int:
    parser = arguments()
    given = parser.parse_args()
    if given.version:
        print(given.told)
        return 0
    if not hasattr(given, "act"):
        parser.print_help()
        return 0
    try:
        given.act(given)
    except Failed as error:
        print('time="2026-11-21T00:00:00Z" level=error msg="%s"' % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
