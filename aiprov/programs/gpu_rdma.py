"""RDMA with GPU memory on this host: whether it is there and up, and nvidia_peermem's build.

stack       0: an RDMA stack is loaded and has a device
current     0: the loaded RDMA stack is the installed one, or none is loaded
ports N     0: at least N ports of RDMA adapters are active; otherwise each is told
device F    0: a device file is there
built K…    0: each kernel has an nvidia_peermem that was built with an RDMA stack
build K…    build the NVIDIA modules anew with dkms, with the RDMA stack that is there now

What is wrong is told on standard error, with the way out. To be run as root, Python 3.6.
"""

import argparse
import os
import subprocess
import sys
from typing import Iterator, List, Tuple

ROOT = os.environ.get("AIPROV_TEST_ROOT", "/")
"""Another root, for tests only."""

CLIENT = "ib_register_peer_memory_client"
"""What nvidia_peermem registers with, where it was built with an RDMA stack that has it."""

PEERMEM = ("nvidia-peermem", "nvidia-current-peermem", "nvidia-current-open-peermem")
"""The module's file: NVIDIA's and Ubuntu's name, and Debian's names."""


def at(path: str) -> str:
    return os.path.join(ROOT, path.lstrip("/"))


def text_of(path: str) -> str:
    """A file's text, without the blanks around it; empty where there is none."""
    try:
        with open(at(path), encoding="utf-8", errors="replace") as source:
            return source.read().strip()
    except OSError:
        return ""


def names_in(path: str) -> List[str]:
    try:
        return sorted(os.listdir(at(path)))
    except OSError:
        return []


def run(*argv: str) -> Tuple[int, str]:
    """A program's exit status and all that it said; 127 where it is not there."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except FileNotFoundError:
        return 127, f"{argv[0]} is not installed"
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


# ---------------------------------------------------------------- what is wrong


def no_stack() -> Iterator[str]:
    if not os.path.isdir(at("/sys/module/ib_core")):
        yield (
            "no RDMA stack is loaded: install one (rdma-core, or DOCA-OFED) and load it, or let "
            "aiprov do so with gpu_rdma_stack: inbox or doca"
        )
    elif not names_in("/sys/class/infiniband"):
        yield (
            "the RDMA stack has no device: is the adapter's RDMA module loaded (mlx5_ib), and does "
            "the kernel have it (Ubuntu: linux-modules-extra)?"
        )


def another_stack() -> Iterator[str]:
    """How the loaded stack is another than the installed one.

    They are told apart by the sum of their sources, which not every kernel has, and by DOCA-OFED's
    own module, where its modules lie in place of the kernel's.
    """
    if not os.path.isdir(at("/sys/module/ib_core")):
        return
    loaded = text_of("/sys/module/ib_core/srcversion")
    status, installed = run("modinfo", "-F", "srcversion", "ib_core")
    differs = status == 0 and loaded != "" and installed not in ("", loaded)
    _, file = run("modinfo", "-n", "ib_core")
    own = any(part in ("updates", "extra") for part in file.split("/"))
    if differs or (own and not os.path.isdir(at("/sys/module/mlx_compat"))):
        yield (
            "the RDMA stack that is loaded is not the one that is installed: reboot the host, or "
            "restart the stack (systemctl restart openibd) where no network depends on it"
        )


def ports() -> List[Tuple[str, str]]:
    """Each port of an RDMA device, and its state: ``mlx5_0/1``, ``4: ACTIVE``."""
    found = []
    for device in names_in("/sys/class/infiniband"):
        folder = f"/sys/class/infiniband/{device}/ports"
        for port in names_in(folder):
            state = text_of(f"{folder}/{port}/state")
            found.append((f"{device}/{port}", state))
    return found


def inactive(wanted: int) -> Iterator[str]:
    missing = list(no_stack())
    if missing:
        yield from missing
        return
    found = ports()
    active = [name for name, state in found if state.endswith(" ACTIVE")]
    if len(active) >= wanted:
        return
    told = ", ".join(
        "{} is {}".format(name, state.partition(": ")[2] or state) for name, state in found
    )
    yield (
        f"{len(active)} of {wanted} RDMA ports that have to be active are "
        f"({told or 'there is none'}): DOWN is a cable, a transceiver or a switch port; INIT waits "
        "for a subnet manager; or correct gpu_rdma_active_ports"
    )


def no_device(path: str) -> Iterator[str]:
    if not os.path.exists(at(path)):
        yield (
            f"{path} is not there: the kernel's log says whether its module was refused (dmesg), "
            "dkms status whether it was built for the running kernel"
        )


def built_without(kernels: List[str]) -> Iterator[str]:
    """The kernels whose nvidia_peermem has nothing to register with."""
    for kernel in kernels:
        file = module_file(kernel)
        if not file:
            yield f"kernel {kernel} has no nvidia_peermem: run aiprov apply for the driver"
        elif CLIENT not in run("modprobe", "--dump-modversions", file)[1]:
            yield (
                f"nvidia_peermem of kernel {kernel} was built without an RDMA stack that has its "
                f"interface ({CLIENT})"
            )


def module_file(kernel: str) -> str:
    for name in PEERMEM:
        status, file = run("modinfo", "-k", kernel, "-n", name)
        if status == 0:
            return file
    return ""


# ---------------------------------------------------------------- doing


def build(kernels: List[str]) -> Iterator[str]:
    """Build the driver's modules anew; what went wrong."""
    for name, version in sources():
        for kernel in kernels:
            which = ("-m", name, "-v", version, "-k", kernel, "--force")
            for step in ("build", "install"):
                status, said = run("dkms", step, *which)
                if status:
                    last = said.splitlines()[-5:]
                    yield "dkms {} {}/{} for {} failed: {}".format(
                        step, name, version, kernel, "\n  ".join(last),
                    )  # fmt: skip
                    return
            print(f"{name} {version} was built anew for {kernel}")
    yield from built_without(kernels)


def sources() -> Iterator[Tuple[str, str]]:
    """The driver's sources that dkms knows: name and version."""
    for name in names_in("/var/lib/dkms"):
        if name.startswith("nvidia") and name != "nvidia-fs":
            for version in names_in("/var/lib/dkms/" + name):
                if os.path.isdir(at(f"/var/lib/dkms/{name}/{version}/source")):
                    yield name, version


# ---------------------------------------------------------------- verbs


def problems(verb: str, names: List[str]) -> Iterator[str]:
    if verb == "stack":
        return no_stack()
    if verb == "current":
        return another_stack()
    if verb == "ports":
        return inactive(int(names[0]))
    if verb == "device":
        return no_device(names[0])
    if verb == "built":
        return built_without(names)
    return build(names)


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu-rdma", description=(__doc__ or "").split("\n")[0])
    verbs = ("stack", "current", "ports", "device", "built", "build")
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("names", nargs="*", help="a number, a file, or kernels")
    given = parser.parse_args(arguments)
    if not given.names and given.verb not in ("stack", "current"):
        parser.error(f"{given.verb} needs a name or number")
    found = list(problems(given.verb, given.names))
    for problem in found:
        sys.stderr.write(problem + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
