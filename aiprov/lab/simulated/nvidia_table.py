"""Stand-in of aiprov's lab: the table that ``nvidia-smi`` prints, and its report ``-q``.

Runs on the host: Python 3.6 and its standard library only. The layout is that of nvidia-smi 580
(published outputs, read 2026-11-21); the report has the sections that provisioning reads.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: UP006, UP031, UP035
import time
from typing import Any, Callable, Dict, List, Tuple

import simulated_gpus as lab  # type: ignore[import-not-found]

Gpu = Tuple[int, str, Dict[str, Any], Dict[str, Any]]

_CUDA = {
    535: "12.2", 550: "12.4", 560: "12.6", 565: "12.7", 570: "12.8", 575: "12.9", 580: "13.0",
    590: "13.1", 595: "13.2", 610: "13.3", 615: "13.4",
}  # fmt: skip
"""The CUDA version of a branch (CUDA release notes, 2026-11-21)."""
_RULE = (
    "+-----------------------------------------+------------------------+----------------------+"
)
_LINE = (
    "+-----------------------------------------------------------------------------------------+"
)
_HEAD = """\
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|"""
_PROCESSES = """\
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|"""
_MIG_HEAD = """\
| MIG devices:                                                                            |
+------------------+----------------------------------+-----------+-----------------------+
| GPU  GI  CI  MIG |                     Memory-Usage |        Vol|        Shared         |
|      ID  ID  Dev |                       BAR1-Usage | SM     Unc| CE ENC  DEC  OFA  JPG |
|                  |                                  |        ECC|                       |
|==================+==================================+===========+=======================|"""
_MIG_RULE = (
    "+------------------+----------------------------------+-----------+-----------------------+"
)


def cuda() -> str:
    """The newest CUDA that the driver knows."""
    branch = int((lab.driver_version() or "0").partition(".")[0])
    return _CUDA.get(branch, "N/A")


def table(gpus: List[Gpu], own: str) -> str:
    """What nvidia-smi prints when it is asked nothing. ``own``: its version, if it is known."""
    version = lab.driver_version()
    head = " NVIDIA-SMI %-23sDriver Version: %-15sCUDA Version: %-9s" % (
        own or version,
        version,
        cuda(),
    )
    lines = [
        time.strftime("%a %b %e %H:%M:%S %Y       "),
        _LINE,
        f"|{head}|",
        _RULE,
        *_HEAD.splitlines(),
    ]
    for gpu in gpus:
        lines += [*rows(gpu), _RULE]
    lines.append("")
    if any(gpu[3]["mig_mode"] for gpu in gpus):
        lines += [_LINE, *mig_rows(gpus), ""]
    return "\n".join([*lines, *processes(gpus)])


def rows(gpu: Gpu) -> List[str]:
    """The three lines of a GPU."""
    index, address, what, now = gpu
    busy = len(lab.workers(index))
    shown = "On" if lab.persistent(now) else "Off"
    mig = "N/A"
    if what["mig"]:
        mig = "Enabled" if now["mig_mode"] else "Disabled"
        mig += "" if now["mig_mode"] == now["mig_pending"] else "*"
    errors = str(now["ecc_uncorrected"]) if what["ecc"] else "N/A"
    errors = "On" if now["mig_mode"] else errors
    mode = {"Exclusive_Process": "E. Process"}.get(now["compute_mode"], now["compute_mode"])
    memory = "%dMiB / %6dMiB" % (4 + 512 * busy, what["memory_mib"])
    load = "N/A" if now["mig_mode"] else "0%"
    return [
        "| %3d  %-31s%-3s | %18s %-3s | %20s |"
        % (index, what["name"][:30], shown, "0000" + address.upper(), "Off", errors),
        "| N/A  %3dC    P0            %3dW / %4dW | %22s | %7s %12s |"
        % (now["temperature"], 70, 700, memory, load, mode),
        "| %39s | %22s | %20s |" % ("", "", mig),
    ]


def mig_rows(gpus: List[Gpu]) -> List[str]:
    """The table of MIG devices."""
    lines = [_MIG_HEAD]
    for index, _, what, now in gpus:
        profiles = {one["name"]: one for one in what["mig"]}
        number = 0
        for one in sorted(now["instances"], key=lambda one: int(one["id"])):
            kind = profiles[one["profile"]]
            total = max(each["memory_slices"] for each in what["mig"])
            mib = what["memory_mib"] * kind["memory_slices"] // total
            for compute in one["compute"]:
                lines.append(mig_row((index, one["id"], compute, number), mib, kind))
                number += 1
        if now["mig_mode"] and not number:
            lines.append("|  No MIG devices found%s|" % (" " * 67))
        lines.append(_MIG_RULE)
    return lines


def mig_row(ids: Tuple[int, int, int, int], mib: int, kind: Dict[str, Any]) -> str:
    """The lines of one MIG device."""
    first = "| %2d  %3d  %2d  %2d  |" % ids
    memory = "%dMiB / %6dMiB" % (12, mib)
    shared = "%2d   0  %3d  %3d    0" % (kind["slices"], kind["video"], kind["ofa"])
    line = "%s %32s | %2d      0 | %21s |" % (first, memory, 16 * kind["slices"], shared)
    return line + "\n| %16s | %32s | %9s | %21s |" % ("", "0MiB /  32767MiB", "", "")


def processes(gpus: List[Gpu]) -> List[str]:
    """The table of processes."""
    lines = [
        _LINE,
        *_PROCESSES.splitlines(),
    ]
    found = [(gpu[0], pid) for gpu in gpus for pid in lab.workers(gpu[0])]
    for index, pid in found:
        command = lab.text_of("/proc/%d/cmdline" % pid).split("\0")[0]
        lines.append(
            "| %4d   N/A  N/A %16d      C   %-33s %11s |" % (index, pid, command[-33:], "512MiB")
        )
    if not found:
        lines.append("|  No running processes found%s|" % (" " * 61))
    return [*lines, _LINE]


def report(
    gpus: List[Gpu],
    attached: int,
    fields: Dict[str, Callable[[Gpu], Any]],
    fabric: Callable[[Gpu], Tuple[str, str]],
) -> str:
    """-q: what nvidia-smi says of each GPU in full."""
    lines = ["", "==============NVSMI LOG==============", ""]
    lines += [
        line(0, "Timestamp", time.strftime("%a %b %e %H:%M:%S %Y")),
        line(0, "Driver Version", lab.driver_version()),
        line(0, "CUDA Version", cuda()),
        "",
        line(0, "Attached GPUs", str(attached)),
    ]
    for gpu in gpus:
        lines.append("GPU {}".format(fields["pci.bus_id"](gpu)))
        lines += sections(gpu, fields, fabric(gpu))
        lines.append("")
    return "\n".join(lines)


def line(depth: int, name: str, value: str) -> str:
    """A line of the report."""
    return ("    " * depth + name).ljust(55) + ": " + value


def sections(
    gpu: Gpu, fields: Dict[str, Callable[[Gpu], Any]], joined: Tuple[str, str]
) -> List[str]:
    """A GPU's part of the report."""
    health = "Healthy" if joined[0] == "Completed" else "N/A"
    cluster = "00000000-0000-0000-0000-000000000000" if health == "Healthy" else "N/A"
    layout: List[Tuple[str, Any]] = [
        ("Product Name", "name"),
        ("Product Architecture", gpu[2]["architecture"].capitalize()),
        ("Persistence Mode", "persistence_mode"),
        ("MIG Mode", [("Current", "mig.mode.current"), ("Pending", "mig.mode.pending")]),
        ("Serial Number", "serial"),
        ("GPU UUID", "uuid"),
        ("Minor Number", "index"),
        ("VBIOS Version", "vbios_version"),
        ("GPU Recovery Action", "gpu_recovery_action"),
        ("PCI", [("Bus Id", "pci.bus_id"), ("Device Id", "pci.device_id")]),
        ("FB Memory Usage", [("Total", "memory.total"), ("Used", "memory.used")]),
        ("Compute Mode", "compute_mode"),
        ("ECC Mode", [("Current", "ecc.mode.current"), ("Pending", "ecc.mode.pending")]),
        ("Temperature", [("GPU Current Temp", "%d C" % gpu[3]["temperature"])]),
        (
            "Fabric",
            [
                ("State", joined[0]),
                ("Status", joined[1]),
                ("CliqueId", "0" if health == "Healthy" else "N/A"),
                ("ClusterUUID", cluster),
            ],
        ),
        ("Processes", "None"),
    ]
    lines = []
    for name, value in layout:
        if isinstance(value, str):
            lines.append(line(1, name, said(gpu, fields, value)))
            continue
        lines.append("    " + name)
        lines += [line(2, inner, said(gpu, fields, one)) for inner, one in value]
    return lines


def said(gpu: Gpu, fields: Dict[str, Callable[[Gpu], Any]], value: str) -> str:
    """A value as it is, or that of the field of this name."""
    text = str(fields[value](gpu)) if value in fields else value
    return "N/A" if text == "[N/A]" else text
