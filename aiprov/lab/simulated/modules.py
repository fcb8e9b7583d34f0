#!/usr/bin/python3
"""Stand-in of aiprov's lab: modprobe, rmmod, insmod, lsmod and dmesg for simulated GPU modules.

Runs on the host under each of these names, before the real ones on PATH. It loads and unloads the
modules in ``NAMES`` and nothing else: any other work goes to the real program. A module is loaded
only if its file is there for the running kernel (the real modinfo says), and nothing enters the
kernel: what is seen of it is made in /sys/module, /proc/driver and /dev of this host.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: PTH118, PTH119, T201, UP006, UP031, UP035
import os
import subprocess
import sys
from typing import Dict, List, Tuple

sys.path.insert(0, os.environ.get("AIPROV_LAB_HOME", "/usr/lib/aiprov-lab"))
import nvidia_driver as driver  # type: ignore[import-not-found]
import simulated_gpus as lab  # type: ignore[import-not-found]

NEEDS: Dict[str, List[str]] = {
    "nvidia": [],
    "nvidia_uvm": ["nvidia"],
    "nvidia_modeset": ["nvidia"],
    "nvidia_drm": ["nvidia_modeset"],
    "nvidia_peermem": ["nvidia"],
    "nvidia_fs": ["nvidia"],
    "gdrdrv": ["nvidia"],
    "nouveau": [],
    "nova_core": [],
    "nova_drm": ["nova_core"],
    "ib_core": [],
    "ib_uverbs": ["ib_core"],
    "ib_umad": ["ib_core"],
}
NODES = {
    "nvidia_uvm": ("nvidia-uvm", "nvidia-uvm-tools"),
    "nvidia_modeset": ("nvidia-modeset",),
    "nvidia_fs": ("nvidia-fs0",),
    "gdrdrv": ("gdrdrv",),
}
"""What a module puts into /dev, beside what the driver itself does."""
REAL = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
_CONFIGS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
_ASKS = {"-n", "--dry-run", "--show", "-c", "--showconfig", "-D", "--show-depends"}
_ASKS |= {"-R", "--resolve-alias", "-V", "--version", "-h", "--help", "--dump-modversions"}


class RefusedError(Exception):
    """The module was not loaded or unloaded, for this reason."""


def kernel_name(name: str) -> str:
    """The module as /sys/module calls it. Debian's nvidia-current.ko holds the module nvidia."""
    return name.replace("-", "_").replace("_current_open", "").replace("_current", "")


def configured(word: str) -> List[Tuple[str, str]]:
    """The lines of modprobe.d that begin with a word: module, and the rest of the line."""
    files: Dict[str, str] = {}
    for folder in _CONFIGS:
        for name in lab.names_in(folder):
            if name.endswith(".conf"):
                files.setdefault(name, f"{folder}/{name}")
    found = []
    for name in sorted(files):
        for line in lab.text_of(files[name]).replace("\\\n", " ").splitlines():
            words = line.split(None, 2)
            if len(words) > 1 and words[0] == word:
                module = words[1].replace("-", "_")
                found.append((module, words[2] if len(words) > 2 else ""))
    return found


def blacklisted(name: str) -> bool:
    """Whether a module may not be loaded by itself, only when it is asked for."""
    return name in [module for module, _ in configured("blacklist")]


def options(name: str) -> List[str]:
    """What modprobe.d sets for a module: ``KEY=VALUE``."""
    return [
        word for module, rest in configured("options") if module == name for word in rest.split()
    ]


def users(name: str) -> List[str]:
    """The loaded modules that need this one."""
    return [user for user, needs in NEEDS.items() if name in needs and lab.loaded(user)]


def node_names(name: str) -> List[str]:
    """The device nodes that a module serves."""
    if name == "nvidia":
        others = {node for nodes in NODES.values() for node in nodes}
        return [n for n in lab.names_in("/dev") if n.startswith("nvidia") and n not in others]
    return list(NODES.get(name, ()))


def opened(name: str) -> int:
    """How many processes have a device of this module open."""
    return sum(len(lab.holders("/dev/" + node)) for node in node_names(name))


def load(name: str, source: str, given: List[str]) -> None:
    """Load a module and what it needs. ``source``: its file, or the name that modinfo finds it by.

    Raises ``RefusedError`` with what modprobe prints.
    """
    if lab.loaded(name):
        return
    faulted = name == "nouveau" and bool(lab.hardware()["nouveau"])
    built = None if faulted else driver.built(source)
    if built is None and not faulted:
        folder = "/lib/modules/" + os.uname().release
        raise RefusedError(f"FATAL: Module {source} not found in directory {folder}")
    for needed in NEEDS[name]:
        load(needed, needed, [])
    said = options(name) + given
    error = ""
    if name == "nvidia" and built is not None:
        error = driver.insert(built, said)
    elif name == "nvidia_peermem" and not lab.loaded("ib_core"):
        error = "Invalid argument"
    elif built is not None and built["kernel"] not in ("", os.uname().release):
        error = "Exec format error"
    elif name == "nouveau" and "modeset=0" not in said:
        driver.bind_nouveau()
    if error:
        raise RefusedError(f"ERROR: could not insert '{name}': {error}")
    driver.show_module(name, built or {}, said)
    for needed in NEEDS[name]:
        lab.write(f"/sys/module/{needed}/refcnt", "%d\n" % len(users(needed)))
    for node in NODES.get(name, ()):
        driver.make_node(node)


def unload(name: str) -> None:
    """Unload a module. Raises ``RefusedError`` where it is used."""
    if users(name):
        raise RefusedError(f"Module {name} is in use by: {' '.join(users(name))}")
    if opened(name):
        raise RefusedError(f"Module {name} is in use")
    if name == "nvidia":
        driver.remove(node_names(name))
    if name == "nouveau":
        driver.unbind("nouveau")
    for node in NODES.get(name, ()):
        driver.drop_node(node)
    driver.hide_module(name)
    for needed in NEEDS[name]:
        lab.write(f"/sys/module/{needed}/refcnt", "%d\n" % len(users(needed)))


def real(program: str, arguments: List[str]) -> int:
    """What the real program does with these arguments."""
    for folder in REAL:
        path = lab.at(os.path.join(folder, program))
        if os.access(path, os.X_OK):
            return subprocess.call([path, *arguments])
    print(f"{program}: not installed", file=sys.stderr)
    return 127


def modprobe(arguments: List[str]) -> int:
    """Load or unload modules by name, as modprobe.d wants it."""
    flags = [word for word in arguments if word.startswith("-")]
    words = [word for word in arguments if not word.startswith("-")]
    short = "".join(flag[1:] for flag in flags if not flag.startswith("--"))
    remove = "r" in short or "--remove" in flags
    several = remove or "a" in short or "--all" in flags
    names, given = (words, []) if several else (words[:1], words[1:])
    ours = [name for name in names if kernel_name(name) in NEEDS]
    if not ours or _ASKS & set(flags):
        return real("modprobe", arguments)
    failed = 0
    others = [name for name in names if name not in ours]
    if others:
        failed |= real("modprobe", [*flags, *others])
    for name in ours:
        quiet = "q" in short or "--quiet" in flags
        try:
            if remove:
                with lab.locked():
                    remove_tree(kernel_name(name))
                continue
            if ("b" in short or "--use-blacklist" in flags) and blacklisted(name.replace("-", "_")):
                continue
            install = dict(configured("install")).get(name.replace("-", "_"))
            if install and "i" not in short and "--ignore-install" not in flags:
                environment = {**os.environ, "CMDLINE_OPTS": " ".join(given)}
                failed |= int(subprocess.call(["/bin/sh", "-c", install], env=environment) != 0)
                continue
            with lab.locked():
                load(kernel_name(name), name, given)
        except RefusedError as error:
            failed = 1
            if not quiet:
                print(f"modprobe: {error}", file=sys.stderr)
    return failed


def remove_tree(name: str) -> None:
    """Unload a module, and those that it needed and nobody else does."""
    if not lab.loaded(name):
        return
    if users(name) or opened(name):
        raise RefusedError(f"FATAL: Module {name} is in use.")
    unload(name)
    for needed in NEEDS[name]:
        if lab.loaded(needed) and not users(needed) and not opened(needed):
            remove_tree(needed)


def rmmod(arguments: List[str]) -> int:
    """Unload modules by name."""
    names = [word for word in arguments if not word.startswith("-")]
    if not any(kernel_name(name) in NEEDS for name in names):
        return real("rmmod", arguments)
    failed = 0
    for name in names:
        ours = kernel_name(name)
        try:
            if not lab.loaded(ours):
                raise RefusedError(f"Module {ours} is not currently loaded")
            with lab.locked():
                unload(ours)
        except RefusedError as error:
            failed = 1
            print(f"rmmod: ERROR: {error}", file=sys.stderr)
    return failed


def insmod(arguments: List[str]) -> int:
    """Load a module by its file."""
    files = [word for word in arguments if not word.startswith("-")]
    name = kernel_name(os.path.basename(files[0]).partition(".")[0]) if files else ""
    if name not in NEEDS:
        return real("insmod", arguments)
    try:
        for needed in NEEDS[name]:
            if not lab.loaded(needed):
                raise RefusedError(f"ERROR: could not insert module {files[0]}: Unknown symbol")
        with lab.locked():
            load(name, files[0], files[1:])
    except RefusedError as error:
        print(f"insmod: {error}", file=sys.stderr)
        return 1
    return 0


def lsmod(arguments: List[str]) -> int:
    """List the loaded modules: the simulated ones first."""
    if arguments:
        return real("lsmod", arguments)
    print("Module                  Size  Used by")
    for name in sorted(NEEDS, key=lambda one: -len(NEEDS[one])):
        if lab.loaded(name):
            by = users(name)
            count = len(by) + opened(name)
            size = 14381056 if name == "nvidia" else 65536
            print(("%-19s %8d  %d %s" % (name, size, count, ",".join(by))).rstrip())
    for line in lab.text_of("/proc/modules").splitlines():
        name, size, count, by = line.split()[:4]
        print(("%-19s %8s  %s %s" % (name, size, count, by.strip(",-"))).rstrip())
    return 0


def dmesg(arguments: List[str]) -> int:
    """The kernel's messages, and then those of the simulated modules."""
    status = real("dmesg", arguments)
    sys.stdout.write(lab.text_of(lab.KERNEL_LOG))
    return status


def main() -> int:
    """Be the program that this was called as."""
    acts = {"rmmod": rmmod, "insmod": insmod, "lsmod": lsmod, "dmesg": dmesg}
    return acts.get(os.path.basename(sys.argv[0]), modprobe)(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
