#!/usr/bin/python3
"""Stand-in of aiprov's lab for nvidia-smi: its command line, output and failures on simulated GPUs.

Not NVIDIA's program, and nothing of it is from theirs. Formats are those that nvidia-smi 580 prints
(outputs published in issues and NVIDIA's MIG user guide, read 2026-11-21). Runs on the host: Python
3.6 and its standard library only; what the GPUs are comes from /usr/lib/aiprov-lab.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: E402, PTH110, PTH118, T201, UP006, UP031, UP035, UP045
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

HOME = os.environ.get("AIPROV_LAB_HOME", "/usr/lib/aiprov-lab")
VERSION = "@VERSION@"
"""Of the package that holds this file, written in when it is packed."""
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
    "the latest NVIDIA driver is installed and running.\n"
)
sys.path.insert(0, HOME)
if not os.path.exists(os.path.join(HOME, "simulated_gpus.py")):
    print(NO_DRIVER)  # a stand-in outside the lab has no GPU to speak of
    raise SystemExit(9)
import nvidia_load  # type: ignore[import-not-found]
import nvidia_mig  # type: ignore[import-not-found]
import nvidia_nvlink  # type: ignore[import-not-found]
import nvidia_table  # type: ignore[import-not-found]
import nvidia_xml  # type: ignore[import-not-found]
import simulated_gpus as lab  # type: ignore[import-not-found]

HELP = """\
NVIDIA System Management Interface -- v%s
This is a stand-in of aiprov's lab: it speaks for simulated GPUs.

nvidia-smi [OPTION1 [ARG1]] [OPTION2 [ARG2]] ...

    -h,   --help                Print usage information and exit.
    -L,   --list-gpus           Display a list of GPUs connected to the system.
    -i,   --id=                 Target a specific GPU.
    -q,   --query               Display GPU or Unit info.
    -x,   --xml-format          Produce XML output.
          --query-gpu=          Information about GPU.
          --query-compute-apps= List of currently active compute processes.
          --format=             csv[,noheader][,nounits]
    -pm,  --persistence-mode=   Set persistence mode: 0/DISABLED, 1/ENABLED
    -c,   --compute-mode=       Set MODE for compute applications: 0/DEFAULT,
                                2/PROHIBITED, 3/EXCLUSIVE_PROCESS
    -mig, --multi-instance-gpu= Enable or disable Multi Instance GPU: 0/DISABLED, 1/ENABLED
    -r,   --gpu-reset           Trigger reset of the GPU.
    mig                         Provides controls for MIG management. "nvidia-smi mig -h"
    nvlink                      Displays device nvlink information. "nvidia-smi nvlink -h"
"""
_VALUES = {
    "-i": "id", "--id": "id", "-pm": "pm", "--persistence-mode": "pm", "-c": "c",
    "--compute-mode": "c", "-mig": "mig", "--multi-instance-gpu": "mig", "--format": "format",
    "--query-gpu": "gpu", "--query-compute-apps": "apps", "-d": "display", "--display": "display",
}  # fmt: skip
_FLAGS = {
    "-L": "list", "--list-gpus": "list", "-q": "query", "--query": "query", "-h": "help",
    "-x": "xml", "--xml-format": "xml", "--help": "help", "-r": "reset", "--gpu-reset": "reset",
}  # fmt: skip
_MODES = {"0": "Default", "2": "Prohibited", "3": "Exclusive_Process"}

BUSY = (
    "is currently being used by one or more other processes (e.g. CUDA application or a monitoring "
    "application such as another instance of nvidia-smi). Please first kill all processes using "
    "the device and retry the command or reboot the system to make MIG mode effective."
)

Gpu = Tuple[int, str, Dict[str, Any], Dict[str, Any]]
"""Index, PCI address, properties, state."""


class FailedError(Exception):
    """What nvidia-smi prints before it gives up, and its exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def connect() -> List[Gpu]:
    """The GPUs that the driver has, or the reason why there is nobody to ask.

    Exit statuses are NVML's, as nvidia-smi's manual lists them.
    """
    version, library = lab.driver_version(), lab.library_version()
    if not library:
        raise FailedError("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", 12)
    if not version:
        raise FailedError(NO_DRIVER, 9)
    if version != library:
        shown = ".".join(library.split(".")[:2])
        said = "Failed to initialize NVML: Driver/library version mismatch"
        raise FailedError(f"{said}\nNVML library version: {shown}", 18)
    there = lab.driven()
    if not there:
        raise FailedError("No devices were found", 6)
    on_bus = lab.on_bus()
    for index, (address, _) in enumerate(there):
        if address not in on_bus:
            said = "Unable to determine the device handle for GPU%d: %s: GPU is lost.  Reboot the"
            raise FailedError((said + " system to recover this GPU") % (index, address), 15)
    return [
        (index, address, gpu, lab.state(address, gpu)) for index, (address, gpu) in enumerate(there)
    ]


def bus_id(gpu: Gpu) -> str:
    """A PCI address as NVML writes it."""
    return "0000" + gpu[1].upper()


def switched(now: bool) -> str:
    return "Enabled" if now else "Disabled"


def mig_mode(gpu: Gpu, key: str) -> str:
    return switched(gpu[3][key]) if gpu[2]["mig"] else "[N/A]"


def link(gpu: Gpu, name: str) -> str:
    return str(lab.text_of(f"{lab.DEVICES}/{gpu[1]}/{name}").strip())


def generation(gpu: Gpu, name: str) -> str:
    """The generation of PCI Express of a link by its speed."""
    speeds = {"2.5": "1", "5.0": "2", "8.0": "3", "16.0": "4", "32.0": "5", "64.0": "6"}
    return speeds.get(link(gpu, name).split(" ")[0], "[N/A]")


def fabric(gpu: Gpu) -> Tuple[str, str]:
    """The state and status of a GPU in its NVLink fabric."""
    if gpu[2]["fabric"] == "none":
        return "N/A", "N/A"
    return ("Completed", "Success") if lab.fabric_manager() else ("In Progress", "N/A")


def used(gpu: Gpu) -> int:
    """MiB of memory in use."""
    return 4 + 512 * len(lab.workers(gpu[0]))


FIELDS: Dict[str, Callable[[Gpu], Any]] = {
    "index": lambda g: str(g[0]),
    "count": lambda g: str(len(lab.driven())),
    "uuid": lambda g: g[2]["uuid"],
    "name": lambda g: g[2]["name"],
    "serial": lambda g: g[2]["serial"],
    "vbios_version": lambda g: g[2]["vbios"],
    "compute_cap": lambda g: g[2]["compute_capability"],
    "driver_version": lambda g: lab.driver_version(),
    "timestamp": lambda g: time.strftime("%Y/%m/%d %H:%M:%S.000"),
    "pci.bus_id": bus_id,
    "pci.device_id": lambda g: "0x{}10DE".format(g[2]["pci_id"][5:].upper()),
    "pcie.link.gen.current": lambda g: generation(g, "current_link_speed"),
    "pcie.link.gen.max": lambda g: generation(g, "max_link_speed"),
    "pcie.link.width.current": lambda g: link(g, "current_link_width"),
    "pcie.link.width.max": lambda g: link(g, "max_link_width"),
    "memory.total": lambda g: "%d MiB" % g[2]["memory_mib"],
    "memory.used": lambda g: "%d MiB" % used(g),
    "memory.free": lambda g: "%d MiB" % (g[2]["memory_mib"] - used(g)),
    "mig.mode.current": lambda g: mig_mode(g, "mig_mode"),
    "mig.mode.pending": lambda g: mig_mode(g, "mig_pending"),
    "compute_mode": lambda g: g[3]["compute_mode"],
    "persistence_mode": lambda g: switched(lab.persistent(g[3])),
    "ecc.mode.current": lambda g: switched(True) if g[2]["ecc"] else "[N/A]",
    "ecc.mode.pending": lambda g: switched(True) if g[2]["ecc"] else "[N/A]",
    "ecc.errors.corrected.volatile.total": lambda g: str(nvidia_load.corrected(g)),
    "ecc.errors.uncorrected.volatile.total": lambda g: str(g[3]["ecc_uncorrected"]),
    "temperature.gpu": lambda g: str(nvidia_load.readings(g)["temperature"]),
    "utilization.gpu": lambda g: "%d %%" % nvidia_load.readings(g)["busy"],
    "utilization.memory": lambda g: "0 %",
    "pstate": lambda g: "P0",
    "power.draw": lambda g: "%.2f W" % nvidia_load.readings(g)["power"],
    "clocks.sm": lambda g: "%d MHz" % nvidia_load.readings(g)["sm"],
    "power.limit": lambda g: "700.00 W",
    "fabric.state": lambda g: fabric(g)[0],
    "fabric.status": lambda g: fabric(g)[1],
    "gpu_recovery_action": lambda g: g[3]["recovery_action"],
}
"""--query-gpu fields, by the names that nvidia-smi --help-query-gpu gives them."""
_UNITS = {("memory.", "used_"): "MiB", ("utilization.",): "%", ("power.",): "W"}
"""The unit of fields by how their names begin."""
_OTHER_NAMES = {"gpu_uuid": "uuid", "gpu_name": "name", "gpu_bus_id": "pci.bus_id",
                "gpu_serial": "serial"}  # fmt: skip
APP_FIELDS = ("pid", "gpu_uuid", "gpu_name", "gpu_bus_id", "process_name", "name",
              "used_gpu_memory", "used_memory")  # fmt: skip


def csv(fields: List[str], rows: List[List[str]], asked: str) -> str:
    """Rows as ``--format`` wants them."""
    form = asked.split(",")
    if form[0] != "csv":
        raise FailedError('"--format=" switch is missing. Please specify format of the output.', 2)
    units = {
        index: f" [{unit}]"
        for index, field in enumerate(fields)
        for words, unit in _UNITS.items()
        if field.startswith(words)
    }
    if "nounits" in form:
        rows = [
            [value.rpartition(" ")[0] if i in units else value for i, value in enumerate(row)]
            for row in rows
        ]
    head = [field + units.get(index, "") for index, field in enumerate(fields)]
    lines = rows if "noheader" in form else [head, *rows]
    return "\n".join(", ".join(line) for line in lines)


def query_gpus(chosen: List[Gpu], asked: str, form: str) -> str:
    """--query-gpu."""
    words = [word.strip() for word in asked.split(",")]
    fields = [_OTHER_NAMES.get(word, word) for word in words]
    for field in fields:
        if field not in FIELDS:
            raise FailedError(f'Field "{field}" is not a valid field to query.\n', 2)
    rows = [[FIELDS[field](gpu) for field in fields] for gpu in chosen]
    return csv(fields, rows, form)


def query_apps(chosen: List[Gpu], asked: str, form: str) -> str:
    """--query-compute-apps."""
    fields = [word.strip() for word in asked.split(",")]
    for field in fields:
        if field not in APP_FIELDS:
            raise FailedError(f'Field "{field}" is not a valid field to query.\n', 2)
    rows = []
    for gpu in chosen:
        for pid in lab.workers(gpu[0]):
            command = lab.text_of("/proc/%d/cmdline" % pid).split("\0")[0]
            told = {"pid": str(pid), "gpu_uuid": gpu[2]["uuid"], "gpu_name": gpu[2]["name"]}
            told.update(gpu_bus_id=bus_id(gpu), process_name=command, name=command)
            told.update(used_gpu_memory="512 MiB", used_memory="512 MiB")
            rows.append([told[field] for field in fields])
    return csv(fields, rows, form)


def listing(chosen: List[Gpu]) -> str:
    """-L."""
    lines = []
    for index, _, gpu, now in chosen:
        lines.append("GPU %d: %s (UUID: %s)" % (index, gpu["name"], gpu["uuid"]))
        for number, (name, code) in enumerate(nvidia_mig.devices(gpu, now)):
            lines.append("  MIG %-12sDevice %2d: (UUID: %s)" % (name, number, code))
    return "\n".join(lines)


def settle(gpu: Gpu) -> None:
    """Remember a GPU's state."""
    lab.save(gpu[1], gpu[2], gpu[3])


def set_persistence(gpu: Gpu, value: str) -> str:
    """-pm."""
    on = value in ("1", "ENABLED")
    same = gpu[3]["persistence"] == on
    gpu[3]["persistence"] = on
    settle(gpu)
    if same:
        return f"Persistence mode is already {switched(on)} for GPU {bus_id(gpu)}."
    return f"{switched(on)} persistence mode for GPU {bus_id(gpu)}."


def set_compute_mode(gpu: Gpu, value: str) -> str:
    """-c."""
    wanted = _MODES.get(value, value.capitalize())
    known = {mode.lower(): mode for mode in _MODES.values()}
    if wanted.lower() not in known:
        raise FailedError(f'Invalid compute mode "{value}".', 2)
    gpu[3]["compute_mode"] = known[wanted.lower()]
    settle(gpu)
    return f"Set compute mode to {wanted.upper()} for GPU {bus_id(gpu)}."


def set_mig(gpu: Gpu, value: str) -> str:
    """-mig. On Ampere it needs a reset; later GPUs switch at once (MIG user guide)."""
    on, name = value in ("1", "ENABLED"), bus_id(gpu)
    verb = "enable" if on else "disable"
    if not gpu[2]["mig"]:
        said = f"Unable to {verb} MIG Mode for GPU {name}: Not Supported"
        return said + "\nTreating as warning and moving on."
    busy = bool(lab.workers(gpu[0])) or (not on and bool(gpu[3]["instances"]))
    if busy and not lab.keeps_mig(gpu[2]):
        said = "Unable to %s MIG Mode for GPU %s: In use by another client"
        raise FailedError((said + "\nTerminating early due to previous errors.") % (verb, name), 19)
    gpu[3]["mig_pending"] = on
    if busy:
        settle(gpu)
        said = "Warning: MIG mode is in pending %s state for GPU %s:In use by another client\n%s %s"
        return said % (verb, name, name, BUSY)
    gpu[3]["mig_mode"] = on
    gpu[3]["instances"] = []
    settle(gpu)
    return f"{switched(on)} MIG Mode for GPU {name}"


def reset(gpu: Gpu, value: str) -> str:
    """-r: what was pending takes effect, what is set for the moment is gone."""
    if lab.workers(gpu[0]):
        said = "The following GPUs could not be reset:\n  GPU %s: In use by another client\n\n"
        why = "1 device " + BUSY.partition(" and retry")[0]
        raise FailedError(said % bus_id(gpu) + why + ".", 255)
    now = gpu[3]
    now.update(mig_mode=now["mig_pending"], instances=[], compute_mode="Default")
    now.update(ecc_corrected=0, ecc_uncorrected=0, recovery_action="None", nvlink_errors={})
    settle(gpu)
    return f"GPU {bus_id(gpu)} was successfully reset."


def parsed(words: List[str]) -> Dict[str, str]:
    """The command line by what it asks."""
    asked: Dict[str, str] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in _FLAGS and not equals:
            asked[_FLAGS[name]] = "1"
        elif name in _VALUES and (equals or rest):
            asked[_VALUES[name]] = value if equals else rest.pop(0)
        else:
            said = "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."
            raise FailedError(said + "\n", 2)
    return asked


def answer(words: List[str]) -> str:
    """What nvidia-smi prints. Raises ``FailedError``."""
    asked = parsed(words)
    if "help" in asked:
        return HELP % (lab.library_version() or "unknown")
    gpus = connect()
    try:
        chosen = [gpus[index] for index in lab.only([gpu[1] for gpu in gpus], asked.get("id"))]
    except LookupError:
        raise FailedError("No devices were found", 6) from None
    acts = {"pm": set_persistence, "c": set_compute_mode, "mig": set_mig, "reset": reset}
    done = [(act, asked[key]) for key, act in acts.items() if key in asked]
    if done and os.geteuid() != 0 and lab.ROOT == "/":
        raise FailedError("Unable to change the GPU: Insufficient Permissions", 4)
    if done:
        with lab.locked():
            said = [act(gpu, value) for act, value in done for gpu in chosen]
        return "\n".join([*said, "All done."])
    if "gpu" in asked:
        return query_gpus(chosen, asked["gpu"], asked.get("format", ""))
    if "apps" in asked:
        return query_apps(chosen, asked["apps"], asked.get("format", ""))
    if "list" in asked:
        return listing(chosen)
    if "query" in asked and "xml" in asked:
        return str(nvidia_xml.report(chosen, len(gpus), FIELDS))
    if "query" in asked:
        return str(nvidia_table.report(chosen, len(gpus), FIELDS, fabric))
    return str(nvidia_table.table(chosen, "" if "@" in VERSION else VERSION))


def main(words: Optional[List[str]] = None) -> int:
    """Answer, or say why not, with nvidia-smi's exit status."""
    given = sys.argv[1:] if words is None else words
    try:
        if given[:1] == ["mig"]:
            text, status = nvidia_mig.answer(given[1:], connect)
        elif given[:1] == ["nvlink"]:
            text, status = nvidia_nvlink.answer(given[1:], connect)
        else:
            text, status = answer(given), 0
    except FailedError as error:
        text, status = str(error), error.status
    print(text)
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
