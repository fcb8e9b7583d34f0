"""MIG layouts of this host's GPUs: whether they are as a file says, and making them so.

    mig check              0: they are; 1: they are not, and how; 2: it cannot be told
    mig apply [--at-boot]  makes them so, on GPUs that nothing runs on

The file (--layout) says for GPUs by their PCI address which instances to have, or that MIG is off:
``{"gpus": {"0000:11:00.0": {"instances": {"1g.18gb": 7}}, "0000:1e:00.0": {"instances": null}}}``.
No instances ({}) is MIG on with whatever instances there are, which are somebody else's business.
GPUs that it does not name are left alone, except those that this program once gave a layout: it
keeps a record of them, and turns MIG off on those that the file names no longer.

A GPU that is as it should be is not touched. Where one of the others is in use, nothing is changed
on any. Where the driver does not make a layout, the former one is put back. Instances do not
survive a reboot, so aiprov-mig.service applies the file at every boot, before anything uses a GPU.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import islice, permutations
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

LAYOUT = "/etc/aiprov/mig.json"
RECORD = "/var/lib/aiprov/mig.json"
CDI_REFRESH = "nvidia-cdi-refresh.service"
MONITORS = ("nvidia-dcgm.service", "nvsm.service", "dcgm-exporter.service")
"""They keep GPUs open, and so keep MIG mode from changing (MIG user guide, Enable MIG Mode)."""
TIMEOUT_S = 120
NOT_FOUND = 6
"""nvidia-smi's exit status where there is nothing to list or to destroy."""
MOST_ORDERS = 24

Instances = Dict[str, int]
"""How many GPU instances of each profile."""


class MigError(Exception):
    """Something is wrong that a person has to know of."""


class Gpu(NamedTuple):
    """A GPU as nvidia-smi shows it. ``mig`` and ``pending``: MIG mode now, and after a reset.

    ``whole``: every instance has exactly one compute instance, and that is all of it.
    """

    number: str
    address: str
    mig: bool
    pending: bool
    instances: Instances
    whole: bool

    @property
    def name(self) -> str:
        return f"GPU {self.number} ({self.address})"


def tell(text: str) -> None:
    sys.stdout.write(f"mig: {text}\n")


def run(argv: List[str]) -> Tuple[int, str]:
    """A command's exit status and what it says. Raises ``MigError`` where it cannot be run."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise MigError(f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise MigError(f"{' '.join(argv)} did not end in {TIMEOUT_S} s") from error
    return done.returncode, done.stdout.decode(errors="replace").strip()


def smi(*words: str, empty: int = 0) -> str:
    """What nvidia-smi says. ``empty``: another exit status that is no failure."""
    status, text = run(["nvidia-smi", *words])
    if status not in (0, empty):
        last = text.splitlines()[-1:] or [f"exit status {status}"]
        raise MigError(f"nvidia-smi {' '.join(words)}: {last[0]}")
    return text


# ---------------------------------------------------------------- what is


def plain_address(bus_id: str) -> str:
    """A PCI address as the kernel writes it: nvidia-smi has a longer domain, and capitals."""
    domain, _, rest = bus_id.strip().lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def gpus() -> Dict[str, Gpu]:
    """The host's GPUs by PCI address."""
    fields = "index,pci.bus_id,mig.mode.current,mig.mode.pending"
    text = smi(f"--query-gpu={fields}", "--format=csv,noheader")
    instances, whole = listed_instances() if "Enabled" in text else ({}, set())
    found = {}
    for line in text.splitlines():
        index, bus_id, mode, pending = [word.strip() for word in line.split(",")]
        address = plain_address(bus_id)
        now, later = mode == "Enabled", pending == "Enabled"
        has = instances.get(index, {})
        found[address] = Gpu(index, address, now, later, has, index in whole)
    return found


def listed_instances() -> Tuple[Dict[str, Instances], Set[str]]:
    """GPU instances by the index of their GPU, and the GPUs whose instances are whole."""
    row = r"\|\s*(\d+)\s+MIG\s+(\S+)\s+\d+\s+(\d+)\s+\d+:\d+\s*\|"
    owned = re.findall(row, smi("mig", "-lgi", empty=NOT_FOUND))
    if not owned:
        return {}, set()
    row = r"\|\s*(\d+)\s+(\d+)\s+MIG\s+(\S+)\s+\d+\s+\d+\s+\d+:\d+\s*\|"
    compute = Counter(re.findall(row, smi("mig", "-lci", empty=NOT_FOUND)))
    instances = {}  # type: Dict[str, Instances]
    expected = Counter()  # type: Counter[Tuple[str, str, str]]
    for index, profile, instance in owned:
        by_profile = instances.setdefault(index, {})
        by_profile[profile] = by_profile.get(profile, 0) + 1
        expected[(index, instance, profile)] += 1
    broken = {one[0] for one in [*(compute - expected), *(expected - compute)]}
    return instances, set(instances) - broken


# ---------------------------------------------------------------- what should be


def document(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as source:
            return dict(json.load(source))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise MigError(f"{path}: {error}") from error


def wanted(layout: str, record: str) -> Dict[str, Optional[Instances]]:
    """The instances to have by PCI address; None for MIG off."""
    found = dict.fromkeys(managed(record))  # type: Dict[str, Optional[Instances]]
    for address, gpu in document(layout).get("gpus", {}).items():
        made = gpu["instances"]
        found[address] = None if made is None else {name: n for name, n in made.items() if n}
    return found


def managed(record: str) -> Set[str]:
    """The GPUs that this program gave a layout."""
    return set(document(record).get("managed", []))


def wrong(gpu: Gpu, want: Optional[Instances]) -> str:
    """How a GPU is other than it should be; empty where it is as it should be."""
    if want is None:
        return f"MIG is on, with {shown(gpu.instances)}" if gpu.mig or gpu.pending else ""
    if not gpu.mig:
        return "MIG is off"
    if not gpu.pending:
        return "MIG is on, and will be off after a reset"
    if want and gpu.instances != want:
        return f"it has {shown(gpu.instances)}, not {shown(want)}"
    if want and not gpu.whole:
        return "its compute instances are not the whole of its GPU instances"
    return ""


def shown(instances: Instances) -> str:
    parts = [f"{count} x {name}" for name, count in sorted(instances.items())]
    return " + ".join(parts) or "no instances"


def differing(
    there: Dict[str, Gpu], want: Dict[str, Optional[Instances]]
) -> List[Tuple[Gpu, Optional[Instances]]]:
    """The GPUs that are other than they should be. Raises ``MigError`` for one that is gone."""
    for address in [one for one in want if one not in there and want[one] is not None]:
        raise MigError(f"there is no GPU at {address}: nvidia-smi shows {', '.join(there)}")
    chosen = [(there[address], want[address]) for address in sorted(want) if address in there]
    return [(gpu, instances) for gpu, instances in chosen if wrong(gpu, instances)]


# ---------------------------------------------------------------- making it so


def refuse_in_use(chosen: List[Gpu]) -> None:
    """Raise ``MigError`` with the processes on the GPUs, if there are any."""
    fields = "--query-compute-apps=gpu_bus_id,pid,process_name"
    by_address = {gpu.address: gpu.name for gpu in chosen}
    text = smi("-i", ",".join(by_address), fields, "--format=csv,noheader")
    busy = []
    for line in text.splitlines():
        bus_id, pid, name = [word.strip() for word in line.split(",", 2)]
        busy.append(f"{by_address[plain_address(bus_id)]}: {name} (process {pid})")
    if busy:
        raise MigError(f"nothing was changed, GPUs are in use: {'; '.join(busy)}")


def set_mode(gpu: Gpu, on: bool) -> None:
    """Turn MIG mode on or off; with a reset of the GPU where it is pending then.

    Ampere takes effect by a reset only; Hopper and later at once, and forget it at a reboot.
    """
    word = "on" if on else "off"
    tell(f"{gpu.name}: turn MIG {word}")
    smi("-i", gpu.number, "-mig", "1" if on else "0")
    now = gpus()[gpu.address]
    if now.mig == on and now.pending == on:
        return
    if now.pending != on:
        fields = "--query-gpu=name,mig.mode.current"
        shown_now = smi("-i", gpu.number, fields, "--format=csv,noheader")
        raise MigError(f"{gpu.name}: MIG cannot be turned {word}; nvidia-smi shows {shown_now}")
    status, text = run(["nvidia-smi", "-i", gpu.number, "-r"])
    if gpus()[gpu.address].mig == on:
        return
    why = (text.splitlines() or [f"exit status {status}"])[0]
    raise MigError(
        f"{gpu.name}: MIG is turned {word} by a reset only, and it cannot be reset now ({why}): "
        "stop what uses it, or reboot the host, which makes the layout too"
    )


def orders(instances: Instances) -> Iterator[List[str]]:
    """The instances in the orders to try: the largest first, which nearly always fits.

    The driver places each where it likes, and moves none: so a layout that fits may yet fail.
    """

    def size(profile: str) -> Tuple[int, int]:
        numbers = [int(number) for number in re.findall(r"\d+", profile)]
        return (-numbers[1], -numbers[0]) if len(numbers) > 1 else (0, 0)

    names = sorted(instances, key=lambda profile: (*size(profile), profile))
    for order in islice(permutations(names), MOST_ORDERS):
        yield [name for name in order for _ in range(instances[name])]


def destroy(gpu: Gpu) -> None:
    for words in (("mig", "-dci"), ("mig", "-dgi")):
        smi(*words, "-i", gpu.number, empty=NOT_FOUND)


def create(gpu: Gpu, instances: Instances) -> str:
    """Make the instances on a GPU that has none; what the driver said at last, where it did not."""
    said = ""
    for order in orders(instances):
        status, text = run(["nvidia-smi", "mig", "-i", gpu.number, "-cgi", ",".join(order), "-C"])
        now = gpus()[gpu.address]
        if status == 0 and now.instances == instances and now.whole:
            return ""
        said = (text.splitlines() or [f"exit status {status}"])[-1]
        destroy(gpu)
    return said


def cut(gpu: Gpu, instances: Instances) -> None:
    """Give a GPU in MIG mode its instances; raise ``MigError`` with the former put back."""
    tell(f"{gpu.name}: make {shown(instances)}")
    former = gpus()[gpu.address].instances
    destroy(gpu)
    said = create(gpu, instances)
    if not said:
        return
    again = create(gpu, former) if former else ""
    left = f"could not be put back: {again}" if again else "was put back"
    left = f"{shown(former)} {left}" if former else "it has no instances, as before"
    raise MigError(f"{gpu.name}: the driver does not make {shown(instances)}: {said}; {left}")


def make(gpu: Gpu, want: Optional[Instances]) -> None:
    """Bring one GPU to what it should be."""
    if want is None:
        if gpu.mig:
            destroy(gpu)
        set_mode(gpu, False)
        return
    if not gpu.mig or not gpu.pending:
        set_mode(gpu, True)
    if want:
        cut(gpu, want)


@contextmanager
def paused(needed: bool, failed: List[str]) -> Iterator[None]:
    """Monitors that keep GPUs open are stopped within, and all of them started again afterwards."""
    stopped = []
    try:
        for unit in MONITORS if needed else ():
            if run(["systemctl", "is-active", "--quiet", unit])[0] == 0:
                tell(f"stop {unit} for the while")
                stopped.append(unit)
                systemctl("stop", unit)
        yield
    finally:
        for unit in stopped:
            try:
                systemctl("start", unit)
            except MigError as error:
                failed.append(str(error))


def systemctl(*words: str) -> None:
    status, text = run(["systemctl", *words])
    if status != 0:
        raise MigError(f"systemctl {' '.join(words)}: {text or status}")


def refresh_cdi(at_boot: bool) -> None:
    """CDI specifications name MIG devices, and nobody else tells them of new ones.

    At boot the refresh comes after this program's own unit: to wait for it would be for ever.
    """
    if run(["systemctl", "cat", CDI_REFRESH])[0] != 0:
        return
    tell(f"restart {CDI_REFRESH}")
    systemctl(*(["--no-block"] if at_boot else []), "restart", CDI_REFRESH)


def keep_record(path: str, addresses: Set[str]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    scratch = f"{path}.new"
    with open(scratch, "w", encoding="utf-8") as out:
        json.dump({"format_version": "1.0", "managed": sorted(addresses)}, out, indent=2)
        out.write("\n")
    os.replace(scratch, path)


# ---------------------------------------------------------------- the verbs


def check(asked: Any) -> int:
    want = wanted(asked.layout, asked.record)
    if not want:
        return 0  # nothing to ask nvidia-smi for, which may not even be there
    found = differing(gpus(), want)
    for gpu, instances in found:
        tell(f"{gpu.name}: {wrong(gpu, instances)}")
    return int(bool(found))


def apply(asked: Any) -> int:
    want = wanted(asked.layout, asked.record)
    if not want:
        return 0
    found = differing(gpus(), want)
    on = {address for address, instances in want.items() if instances is not None}
    if found:
        refuse_in_use([gpu for gpu, _ in found])
        keep_record(asked.record, managed(asked.record) | on)
        failed = apply_all(found)
        refresh_cdi(asked.at_boot)
        if failed:
            raise MigError("; ".join(failed))
    keep_record(asked.record, on)
    return 0


def apply_all(found: List[Tuple[Gpu, Optional[Instances]]]) -> List[str]:
    """Bring all of the GPUs to what they should be; what failed. One does not stop the others."""
    failed = []  # type: List[str]
    switches = any(gpu.mig != (want is not None) for gpu, want in found)
    with paused(switches, failed):
        for gpu, want in found:
            try:
                make(gpu, want)
            except MigError as error:
                failed.append(str(error))
    return failed


def main(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    parser = argparse.ArgumentParser(prog="mig")
    parser.add_argument("verb", choices=("check", "apply"))
    parser.add_argument("--layout", default=LAYOUT)
    parser.add_argument("--record", default=RECORD)
    parser.add_argument("--at-boot", action="store_true")
    asked = parser.parse_args(words)
    try:
        return check(asked) if asked.verb == "check" else apply(asked)
    except MigError as error:
        sys.stderr.write(f"mig: {error}\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
