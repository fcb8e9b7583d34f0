"""The NVIDIA kernel modules of this host: whether the right ones are there and loaded; do so.

built K…       0: each kernel has modules of the installed version (``--signed``: signed ones)
build K…       build them with dkms, and say what the compiler said where that fails
settled        0: what is loaded is what is installed for the running kernel, with its options
settled --tried  0 also where a reload would not help: GPUs are used, or it was tried since boot
busy           0: a process uses the GPUs; each is told with its pid
reload         stop the driver's own services, unload, load, start the services again
verify         0: loaded, library and files are of one version, and every GPU is driven

What is wrong is told on standard error, with the way out. To be run as root, Python 3.6.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

ROOT = os.environ.get("AIPROV_TEST_ROOT", "/")
"""Another root, for tests only."""

FILES = ("nvidia", "nvidia-current", "nvidia-current-open")
"""The module's file: NVIDIA's and Ubuntu's name, and Debian's names."""

UNLOADED = (
    "nvidia_fs", "gdrdrv", "nvidia_peermem", "nvidia_drm", "nvidia_modeset", "nvidia_uvm",
    "nvidia", "nouveau", "nova_drm", "nova_core", "nova",
)  # fmt: skip
"""All that has to go before other modules can be loaded, in this order."""

WATCHERS = ("nvidia-persistenced", "nvidia-fabricmanager", "nvidia-imex", "nvidia-dcgm")
UNITS = tuple(f"{name}.service" for name in WATCHERS)
"""Services that only watch over GPUs: no work is lost when they stop for a moment."""

OTHERS = ("nouveau", "nova", "nova_core", "nova-core", "nova_drm")
KERNEL = os.uname().release
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64")
TO_LOAD = "/etc/modules-load.d/aiprov-nvidia.conf"
OPTIONS = "/etc/modprobe.d/aiprov-nvidia.conf"
TRIED = "/run/aiprov/nvidia-reload-tried"
SHOWN_AS = {"RestrictProfilingToAdminUsers": "RmProfilingAdminOnly"}  # driver 595.84, 2026-11-21


class Module(NamedTuple):
    """``open``: NVIDIA's open kernel modules. ``signer``: who signed them, if anybody."""

    version: str
    open: bool
    signer: str


class FailedError(Exception):
    """What could not be done, and the way out."""


def at(path: str) -> str:
    return os.path.join(ROOT, path.lstrip("/"))


def text_of(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        with open(at(path), encoding="utf-8", errors="replace") as source:
            return source.read()
    except OSError:
        return ""


def names_in(path: str) -> List[str]:
    """What a folder has; nothing where it is not there, or goes meanwhile."""
    try:
        return sorted(os.listdir(at(path)))
    except OSError:
        return []


def target(path: str) -> str:
    """Where a link leads; empty where there is none, or it goes meanwhile."""
    try:
        return os.readlink(at(path))
    except OSError:
        return ""


def run(*argv: str) -> Tuple[int, str]:
    """A program's exit status and all that it said; 127 where it is not there."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError:
        return 127, f"{argv[0]} is not installed"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def on_disk(release: str) -> Optional[Module]:
    """The module that would be loaded on that kernel; ``None`` where it has none."""
    for name in FILES:
        status, said = run("modinfo", "-k", release, name)
        if status == 0:
            fields = dict(line.partition(":")[::2] for line in reversed(said.splitlines()))
            found = {key.strip(): value.strip() for key, value in fields.items()}
            is_open = "GPL" in found.get("license", "")
            return Module(found.get("version", ""), is_open, found.get("signer", ""))
    return None


def loaded() -> Optional[Module]:
    """The driver that is loaded; ``None`` where none is."""
    text = text_of("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module.*?\s{2}(\d+(?:\.\d+)+)\s", text)
    return Module(found.group(1), "Open Kernel Module" in text, "") if found else None


def library() -> str:
    """The version of the user space libraries; empty where there are none."""
    for folder in LIBRARIES:
        real = os.path.realpath(at(folder + "/libnvidia-ml.so.1"))
        found = re.search(r"\.so\.(\d+\.\d+(?:\.\d+)?)$", real)
        if found:
            return found.group(1)
    return ""


def is_loaded(name: str) -> bool:
    return os.path.isdir(at("/sys/module/" + name.replace("-", "_")))


def gpus() -> Dict[str, str]:
    """NVIDIA's GPUs on the PCI bus: address -> driver. Those given to virtual machines are not."""
    found = {}
    for address in names_in("/sys/bus/pci/devices"):
        folder = "/sys/bus/pci/devices/" + address
        ours = text_of(folder + "/vendor").strip() == "0x10de"
        if not ours or text_of(folder + "/class")[:6] not in ("0x0300", "0x0302"):
            continue
        driver = os.path.basename(target(folder + "/driver"))
        if driver != "vfio-pci":
            found[address] = driver
    return found


def users() -> Iterator[str]:
    """Who has a GPU open, the driver's own services left out: ``python (4711)``."""
    for pid in names_in("/proc"):
        if not pid.isdigit():
            continue
        handles = [target(f"/proc/{pid}/fd/{number}") for number in names_in(f"/proc/{pid}/fd")]
        if not any(re.match(r"/dev/(nvidia|dri/.*nvidia)", path) for path in handles):
            continue
        if not set(re.split(r"[/\s]", text_of(f"/proc/{pid}/cgroup"))) & set(UNITS):
            yield f"{text_of(f'/proc/{pid}/comm').strip() or 'a process'} ({pid})"


def lines_of(path: str) -> List[str]:
    return [line.strip() for line in text_of(path).splitlines() if line.strip() and line[0] != "#"]


def unlike() -> Iterator[str]:
    """How what is loaded differs from what would be loaded now."""
    for address, driver in gpus().items():
        if driver in OTHERS:
            yield f"{driver} has GPU {address}"
    wanted, now = on_disk(KERNEL), loaded()
    if wanted is None:
        yield f"the running kernel {KERNEL} has no NVIDIA modules"
    elif now is None:
        yield "no NVIDIA driver is loaded"
    elif now.version != wanted.version:
        yield f"driver {now.version} is loaded, {wanted.version} is installed"
    elif now.open != wanted.open:
        kinds = {True: "open", False: "proprietary"}
        yield f"{kinds[now.open]} modules are loaded, {kinds[wanted.open]} ones are installed"
    if now is not None:
        missing = [name for name in lines_of(TO_LOAD) if not is_loaded(name)]
        yield from [f"module {name} is not loaded" for name in missing]
        yield from wrong_options()


def wrong_options() -> Iterator[str]:
    """Options that are set, and that the loaded driver has other values of."""
    lines = text_of("/proc/driver/nvidia/params").splitlines()
    params = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    for line in lines_of(OPTIONS):
        for word in line.split()[2:] if line.startswith("options nvidia ") else ():
            name, _, value = word.partition("=")
            bare = name.replace("NVreg_", "", 1)
            now = params.get(bare, params.get(SHOWN_AS.get(bare, "")))
            if now is not None and plain(now) != plain(value):
                yield f"option {name} is {now}, wanted {value}"


def plain(value: str) -> str:
    """A value however it is written: ``0x1b6``, ``0666`` and ``438`` are the same to the kernel."""
    bare = re.sub(r"^0(?=[0-7]+$)", "0o", value.strip('"'))
    number = re.match(r"(0x[0-9a-fA-F]+|0o[0-7]+|-?[1-9]\d*|0)$", bare)
    return str(int(bare, 0) % 2**32) if number else bare


def unverified(arguments: argparse.Namespace) -> Iterator[str]:
    """What is not as it has to be on a host whose driver works, each with the way out."""
    for problem in unlike():
        yield f"{problem}: run aiprov apply, which loads what is installed, or says what is used"
    now, there = loaded(), gpus()
    if arguments.gpus not in (None, len(there)):
        yield (
            f"{len(there)} GPUs are on the PCI bus, not {arguments.gpus}: see the BMC's log, power "
            "the host off and on, reseat the GPU; or correct nvidia_driver_expected_gpus"
        )
    wanted = on_disk(KERNEL)
    if arguments.signed and wanted is not None and not wanted.signer:
        yield (
            f"Secure Boot is on and the modules of {KERNEL} are not signed: enrol a machine "
            "owner key (mokutil --import) and run aiprov apply"
        )
    if now is None:
        return
    if library() != now.version:
        yield (
            f"driver {now.version} is loaded, the libraries are {library() or 'not installed'}: "
            "one was changed behind the other's back, run aiprov apply"
        )
    lost = ", ".join(sorted(set(there) - set(names_in("/proc/driver/nvidia/gpus"))))
    if lost:
        yield f"the driver does not drive GPU {lost}: the kernel says why (dmesg, lines with NVRM)"
    for state in sorted(set(fabric_states()) - {"Completed"}) if arguments.fabric else ():
        yield (
            f"the NVLink fabric is {state!r}, not completed: see systemctl status "
            "nvidia-fabricmanager and /var/log/fabricmanager.log"
        )


def fabric_states() -> List[str]:
    """Of each GPU, by nvidia-smi, whether its NVLinks are brought up."""
    status, said = run("nvidia-smi", "-q")
    if status:
        return [said.strip().splitlines()[-1] if said.strip() else "unknown"]
    found = re.findall(r"^\s+Fabric\s*\n(?:\s+.*\n)*?\s+State\s*:\s*(.+?)\s*$", said, re.MULTILINE)
    return found or ["unknown"]


def reload_modules(or_reboot: bool) -> None:
    """Load what is installed. Raises ``FailedError`` where that does not work.

    With ``or_reboot`` modules that stay are no failure, but noted: until a reboot no try is of use.
    """
    problems = list(unlike())
    print("\n".join(problems))
    if only_missing(problems):
        load()
        return
    try:
        running, modules = unload()
    except FailedError as failure:
        if not or_reboot:
            raise FailedError(f"{failure}; end them or reboot the host") from failure
        os.makedirs(at(os.path.dirname(TRIED)), exist_ok=True)
        with open(at(TRIED), "w", encoding="utf-8") as out:
            out.write(f"{failure}\n")
        print(f"{failure}: the host has to be rebooted")
        return
    try:
        load()
    finally:
        left = start(running, modules)
    if left:
        raise FailedError(left)


def only_missing(problems: List[str]) -> bool:
    """Whether nothing has to be unloaded: all that is wrong is that modules are missing."""
    return all(problem.startswith("module ") for problem in problems)


def unload() -> Tuple[List[str], List[str]]:
    """Unload the modules: services that were stopped for it, and modules that went.
    Raises ``FailedError``, with all of them there again."""
    if on_disk(KERNEL) is None:
        raise FailedError(f"the running kernel {KERNEL} has no NVIDIA modules")
    using = ", ".join(users())
    if using:
        raise FailedError(f"the GPUs are used by {using}")
    running = [unit for unit in UNITS if run("systemctl", "is-active", "--quiet", unit)[0] == 0]
    if running:
        run("systemctl", "stop", *running)
    gone = []  # type: List[str]
    for module in [name for name in UNLOADED if is_loaded(name)]:
        status, said = run("modprobe", "--remove", module)
        if status and is_loaded(module):
            left = [f"{module} cannot be unloaded ({last_line(said)})", start(running, gone)]
            raise FailedError("; ".join(filter(None, left)))
        gone.insert(0, module)
    return running, gone


def start(units: List[str], modules: List[str]) -> str:
    """Start the services that were stopped, load what others had; which services do not start."""
    for name in modules:
        if name not in OTHERS and not is_loaded(name) and run("modinfo", name)[0] == 0:
            sys.stderr.write(run("modprobe", name)[1])
    status, said = run("systemctl", "start", *units) if units else (0, "")
    return f"{', '.join(units)} cannot be started again ({last_line(said)})" if status else ""


def load() -> None:
    """Load the modules. Raises ``FailedError`` with what went wrong."""
    for name in lines_of(TO_LOAD) or ["nvidia"]:
        status, said = run("modprobe", name)
        if status:
            raise FailedError(f"{name} cannot be loaded ({last_line(said)}): see dmesg for why")


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def build(kernels: List[str]) -> None:
    """Build the modules. Raises ``FailedError`` with what the compiler said."""
    for release in kernels:
        _, said = run("dkms", "autoinstall", "-k", release)
        print(said, end="")
        run("depmod", "-a", release)  # dkms leaves it out where it has nothing to build
        if not built(release):
            why = "\n".join(build_log() or said.splitlines()[-5:]) or "see dkms status"
            raise FailedError(f"no modules {library()} were built for kernel {release}: {why}")


def built(release: str, signed: bool = False) -> bool:
    """Whether a kernel has modules of the version that the libraries are of."""
    found = on_disk(release)
    version = found.version if found is not None and (found.signer or not signed) else ""
    return version == library() != ""


def build_log() -> List[str]:
    """The end of what the compiler said about the installed version."""
    lines = []
    for name in names_in("/var/lib/dkms"):
        if name.startswith("nvidia"):
            lines += lines_of(f"/var/lib/dkms/{name}/{library()}/build/make.log")
    return [line for line in lines if "error" in line.lower()][:5] or lines[-5:]


def tell(problems: List[str]) -> int:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


def verify(arguments: argparse.Namespace) -> int:
    """Nothing is wrong, at once or when the fabric has come up, which may take a while."""
    until = time.monotonic() + arguments.wait
    while True:
        problems = list(unverified(arguments))
        if not any("fabric" in one for one in problems) or time.monotonic() >= until:
            return tell(problems)
        time.sleep(2)


def asked(arguments: argparse.Namespace) -> int:
    """Do what a verb says; its exit status. Raises ``FailedError``."""
    verb = arguments.verb
    if verb == "built":
        missing = [one for one in arguments.names if not built(one, arguments.signed)]
        kind = "signed modules" if arguments.signed else "modules"
        return tell([f"kernel {one} has no {kind} {library()}" for one in missing])
    if verb == "build":
        build(arguments.names)
    elif verb == "settled":
        problems = list(unlike())
        if arguments.tried and not only_missing(problems):
            return 0 if os.path.exists(at(TRIED)) or any(users()) else tell(problems)
        return tell(problems)
    elif verb == "busy":
        found = list(users())
        print("\n".join(found))
        return 0 if found else 1
    elif verb == "reload":
        reload_modules(arguments.or_reboot)
    else:
        return verify(arguments)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("verb", choices=("built", "build", "settled", "busy", "reload", "verify"))
    parser.add_argument("names", nargs="*", help="kernels")
    for flag in ("--signed", "--tried", "--or-reboot", "--fabric"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--gpus", type=int)
    parser.add_argument("--wait", type=float, default=0, help="seconds")
    try:
        return asked(parser.parse_args())
    except FailedError as failure:
        return tell([str(failure)])


if __name__ == "__main__":
    sys.exit(main())
