"""Stand-in of aiprov's lab for ``nvidia-smi mig``: instances of simulated GPUs.

Runs on the host: Python 3.6 and its standard library only. Texts and tables are those of nvidia-smi
580 (MIG user guide and published outputs, read 2026-11-21). SM counts and memory of profiles are
near the real ones; their ids, places and numbers are the catalog's.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: UP006, UP031, UP035, UP045
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

import simulated_gpus as lab  # type: ignore[import-not-found]

Gpu = Tuple[int, str, Dict[str, Any], Dict[str, Any]]
Profile = Dict[str, Any]
Instance = Dict[str, Any]

_SM = {"ampere": 14, "hopper": 16, "blackwell": 18}
_COMPUTE_IDS = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}
NOT_FOUND, INSUFFICIENT, IN_USE, INVALID, DENIED = 6, 23, 19, 2, 4
"""NVML's numbers, which nvidia-smi ends with."""
HELP = """\
    mig -- Multi Instance GPU management.  (a stand-in of aiprov's lab)

    Usage: nvidia-smi mig [options]

    -i:    GPU(s)                   -gi:  GPU instance ID(s)     -ci: compute instance ID(s)
    -lgip: list GPU instance profiles          -lgipp: list their placements
    -cgi LIST [-C]: create GPU instances [and their compute instances]
    -cci: create compute instances
    -lgi, -lci: list instances      -dci, -dgi: destroy instances
"""
_VALUES = {"-i", "-gi", "-ci", "-cgi"}
_FLAGS = {"-lgip", "-lgipp", "-lgi", "-lci", "-dgi", "-dci", "-C", "-cci", "-h"}


def devices(gpu: Dict[str, Any], now: Dict[str, Any]) -> List[Tuple[str, str]]:
    """The MIG devices of a GPU: name and UUID."""
    return [
        (one["profile"], lab.mig_uuid(gpu, one["id"], compute))
        for one in sorted(now["instances"], key=lambda one: int(one["id"]))
        for compute in one["compute"]
    ]


def profile(gpu: Dict[str, Any], name: str) -> Optional[Profile]:
    """A profile by its name or number."""
    for one in gpu["mig"]:
        if name.lower() in (one["name"], "mig " + one["name"], str(one["profile_id"])):
            return dict(one)
    return None


def place(gpu: Dict[str, Any], instances: List[Instance], wanted: Profile) -> Optional[int]:
    """Where the driver puts one more instance; None where there is no place.

    It takes the last free place, and moves nothing: so the order of instances matters.
    """
    by_name = {one["name"]: one for one in gpu["mig"]}
    there = [by_name[one["profile"]] for one in instances]
    if len([one for one in there if one["name"] == wanted["name"]]) >= wanted["most"]:
        return None
    for part in ("slices", "video", "ofa"):
        most = max(one[part] for one in gpu["mig"])
        if sum(one[part] for one in there) + wanted[part] > most:
            return None
    taken = set()
    for one in instances:
        taken |= set(range(one["start"], one["start"] + by_name[one["profile"]]["memory_slices"]))
    for start in sorted(wanted["starts"], reverse=True):
        if not taken & set(range(start, start + wanted["memory_slices"])):
            return int(start)
    return None


def instance_id(gpu: Dict[str, Any], wanted: Profile, start: int) -> int:
    """The number that the driver gives an instance: by its share of the GPU and its place."""
    total = max(one["memory_slices"] for one in gpu["mig"])
    first = {1: 0, 2: 1, 4: 3, 8: 7}.get(total // wanted["memory_slices"], 7)
    return int(first + start // wanted["memory_slices"])


def free(gpu: Dict[str, Any], instances: List[Instance], wanted: Profile) -> int:
    """How many more of a profile can be made."""
    there = list(instances)
    while True:
        start = place(gpu, there, wanted)
        if start is None:
            return len(there) - len(instances)
        there.append({"profile": wanted["name"], "start": start})


def box(title: str, rows: List[List[str]]) -> str:
    """A table whose rows are each underlined; the first lines are its head."""
    width = max(len(line) for row in rows for line in row)
    line = "+" + "-" * width + "+"
    inner = [f"|{text.ljust(width)}|" for text in [" " + title, *rows[0]]]
    parts = [line, *inner, "|" + "=" * width + "|"]
    for row in rows[1:]:
        parts += [f"|{text.ljust(width)}|" for text in row] + [line]
    return "\n".join(parts)


def list_profiles(gpus: List[Gpu]) -> str:
    """-lgip."""
    head = [
        " GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  ",
        "                                Free/Total   GiB              CE    JPEG  OFA  ",
    ]
    rows = [head]
    for index, _, gpu, now in gpus:
        for one in gpu["mig"]:
            count = "%d/%d" % (free(gpu, now["instances"], one), one["most"])
            gib = int(one["name"].partition(".")[2].partition("gb")[0]) * 0.985
            sm = one["slices"] * _SM.get(gpu["architecture"], 14)
            first = "   %d  MIG %-16s%2d %7s %12.2f      No     %-7d%d     0   "
            second = " " * 63 + "%d     0     %d   "
            said = (index, one["name"], one["profile_id"], count, gib, sm, one["video"])
            rows.append([first % said, second % (one["slices"], one["ofa"])])
    return box("GPU instance profiles:", rows)


def list_places(gpus: List[Gpu]) -> str:
    """-lgipp."""
    lines = []
    for index, _, gpu, _now in gpus:
        for one in gpu["mig"]:
            word = "Placements" if len(one["starts"]) > 1 else "Placement "
            starts = ",".join(str(start) for start in one["starts"])
            said = (index, one["profile_id"], word, starts, one["memory_slices"])
            lines.append("GPU %2d Profile ID %2d %s: {%s}:%d" % said)
    return "\n".join(lines)


def list_instances(gpus: List[Gpu]) -> str:
    """-lgi."""
    head = [
        " GPU   Name               Profile  Instance   Placement  ",
        "                            ID       ID       Start:Size ",
    ]
    rows = [head]
    for index, _, gpu, now in gpus:
        for one in sorted(now["instances"], key=lambda one: (one["profile"], one["id"])):
            kind = profile(gpu, one["profile"]) or {}
            where = "%d:%d" % (one["start"], kind["memory_slices"])
            text = "   %d  MIG %-14s %5d       %2d       %6s     "
            rows.append([text % (index, one["profile"], kind["profile_id"], one["id"], where)])
    return box("GPU instances:", rows)


def list_compute(gpus: List[Gpu]) -> str:
    """-lci."""
    head = [
        " GPU     GPU       Name             Profile   Instance   Placement  ",
        "       Instance                       ID        ID       Start:Size ",
        "         ID                                                         ",
    ]
    rows = [head]
    for index, _, gpu, now in gpus:
        for one in sorted(now["instances"], key=lambda one: int(one["id"])):
            kind = profile(gpu, one["profile"]) or {}
            for compute in one["compute"]:
                slot = _COMPUTE_IDS.get(kind["slices"], 0)
                text = "   %d     %2d       MIG %-14s %3d       %3d          0:%d     "
                said = (index, one["id"], one["profile"], slot, compute, kind["slices"])
                rows.append([text % said])
    return box("Compute instances:", rows)


def create(gpus: List[Gpu], wanted: str, compute: bool) -> Tuple[str, int]:
    """-cgi: one after another, and no further than the first that fails."""
    lines = []
    for index, address, gpu, now in gpus:
        for name in wanted.split(","):
            kind = profile(gpu, name)
            start = place(gpu, now["instances"], kind) if kind else None
            why, status = ("Invalid Argument", INVALID) if kind is None else ("", 0)
            if lab.workers(index) and not now["instances"]:
                why, status = "In use by another client", IN_USE
            elif kind is not None and start is None:
                why, status = "Insufficient Resources", INSUFFICIENT
            if why or kind is None or start is None:
                said = "Unable to create a GPU instance on GPU %2d using profile %s: %s"
                lines.append(said % (index, name, why))
                return "\n".join([*lines, "Failed to create GPU instances: " + why]), status
            number = instance_id(gpu, kind, start)
            made = {"profile": kind["name"], "start": start, "id": number, "compute": []}
            now["instances"].append(made)
            said = (
                "Successfully created GPU instance ID %2d on GPU %2d using profile MIG %s (ID %2d)"
            )
            lines.append(said % (number, index, kind["name"], kind["profile_id"]))
            if compute:
                lines.append(create_compute(index, made, kind))
            lab.save(address, gpu, now)
    return "\n".join(lines), 0


def create_compute(index: int, made: Instance, kind: Profile) -> str:
    """-C: the compute instance that is the whole of its GPU instance."""
    made["compute"].append(0)
    said = (
        "Successfully created compute instance ID  0 on GPU %2d GPU instance ID %2d using profile"
    )
    slot = _COMPUTE_IDS.get(kind["slices"], 0)
    return (said + " MIG %s (ID %2d)") % (index, made["id"], kind["name"], slot)


def create_missing(gpus: List[Gpu], chosen: List[str]) -> Tuple[str, int]:
    """-cci."""
    lines = []
    for index, address, gpu, now in gpus:
        for one in now["instances"]:
            if not one["compute"] and (not chosen or str(one["id"]) in chosen):
                lines.append(create_compute(index, one, profile(gpu, one["profile"]) or {}))
        lab.save(address, gpu, now)
    if not lines:
        return "No GPU instances found: Not Found", NOT_FOUND
    return "\n".join(lines), 0


def destroy(gpus: List[Gpu], what: str, chosen: List[str]) -> Tuple[str, int]:
    """-dci and -dgi."""
    lines, kind = [], "compute" if what == "-dci" else "GPU"
    for index, address, gpu, now in gpus:
        for one in sorted(now["instances"], key=lambda one: int(one["id"])):
            if chosen and str(one["id"]) not in chosen:
                continue
            if lab.workers(index) or (what == "-dgi" and one["compute"]):
                said = "Unable to destroy %s instance ID %2d from GPU %2d: In use by another client"
                last = f"Failed to destroy {kind} instances: In use by another client"
                lines += [said % (kind, one["id"] if what == "-dgi" else 0, index), last]
                return "\n".join(lines), IN_USE
            if what == "-dci":
                said = "Successfully destroyed compute instance ID %2d from GPU %2d"
                whole = said + " GPU instance ID %2d"
                lines += [whole % (compute, index, one["id"]) for compute in one["compute"]]
                one["compute"] = []
            else:
                now["instances"] = [other for other in now["instances"] if other is not one]
                said = "Successfully destroyed GPU instance ID %2d from GPU %2d"
                lines.append(said % (one["id"], index))
            lab.save(address, gpu, now)
    if not lines:
        return f"No {kind} instances found: Not Found", NOT_FOUND
    return "\n".join(lines), 0


def parsed(words: List[str]) -> Optional[Dict[str, str]]:
    """The command line; None where it makes no sense."""
    asked, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        if word in _FLAGS:
            asked[word] = ""
        elif word in _VALUES and rest:
            asked[word] = rest.pop(0)
        else:
            return None
    return asked


def answer(words: List[str], connect: Callable[[], List[Gpu]]) -> Tuple[str, int]:
    """What ``nvidia-smi mig`` prints, and its exit status."""
    asked = parsed(words)
    if asked is None:
        return "Invalid combination of input arguments. Run 'nvidia-smi mig -h' for help.", 1
    if "-h" in asked or not asked:
        return HELP, 0
    there = connect()
    try:
        chosen = [there[n] for n in lab.only([gpu[1] for gpu in there], asked.get("-i"))]
    except LookupError as error:
        return f"Failed to parse device specified at the command-line: {error}", INVALID
    able = [gpu for gpu in chosen if gpu[2]["mig"]]
    if not able:
        return "No MIG-supported devices found.", NOT_FOUND
    on = [gpu for gpu in able if gpu[3]["mig_mode"]]
    if not on:
        return "No MIG-enabled devices found.", NOT_FOUND
    changes = {"-cgi", "-cci", "-dci", "-dgi"} & set(asked)
    if changes and os.geteuid() != 0 and lab.ROOT == "/":
        return "Insufficient Permissions", DENIED
    with_instances = any(gpu[3]["instances"] for gpu in on)
    lists = {"-lgi": list_instances, "-lci": list_compute}
    for flag, act in lists.items():
        if flag in asked:
            kind = "GPU" if flag == "-lgi" or not with_instances else "compute"
            rows = [one for gpu in on for one in gpu[3]["instances"]]
            empty = not rows if kind == "GPU" else not any(one["compute"] for one in rows)
            said = f"No {kind} instances found: Not Found"
            return (said, NOT_FOUND) if empty else (act(on), 0)
    if "-lgip" in asked or "-lgipp" in asked:
        return (list_profiles if "-lgip" in asked else list_places)(on), 0
    picked = [word for word in asked.get("-gi", "").split(",") if word]
    with lab.locked():
        if "-cgi" in asked:
            return create(on, asked["-cgi"], "-C" in asked)
        if "-cci" in asked:
            return create_missing(on, picked)
        return destroy(on, "-dci" if "-dci" in asked else "-dgi", picked)
