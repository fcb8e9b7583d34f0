"""Stand-in of aiprov's lab for ``nvidia-smi nvlink``: status and error counters of NVLinks.

Texts are those that nvidia-smi 535 to 595 prints (published outputs, tests/checks/nvlink, read
2026-11-21). Runs on the host: Python 3.6 and its standard library only.
"""

# For the host's Python 3.6, and small.
# ruff: noqa: UP006, UP031, UP035
from typing import Any, Callable, Dict, List, Tuple

import simulated_gpus as lab  # type: ignore[import-not-found]

Gpu = Tuple[int, str, Dict[str, Any], Dict[str, Any]]

HELP = """\
    nvlink -- Display NvLink information.  (a stand-in of aiprov's lab)

    Usage: nvidia-smi nvlink [options]

    -i, --id: GPU(s)    -s, --status: link state    -e, --errorcounters: error counters
"""
_NONE = "Device does not have or support Nvlink"
_INACTIVE = "NVML: Unable to retrieve Nvlink information as all links are inActive"
_COUNTERS = ("Replay Errors", "Recovery Errors", "CRC Errors")
_NEW_COUNTERS = (
    "Malformed packet Errors", "Buffer overrun Errors", "Rx Errors", "Rx remote Errors",
    "Rx General Errors", "Local link integrity Errors", "Tx discards",
    "Link recovery successful events", "Link recovery failed events", "Total link recovery events",
    "Effective Errors", "Symbol Errors",
)  # fmt: skip
"""Of Blackwell's links."""
_SAME = {"CRC Errors": "Symbol Errors", "Recovery Errors": "Link recovery failed events"}


def answer(words: List[str], connect: Callable[[], List[Gpu]]) -> Tuple[str, int]:
    """What ``nvidia-smi nvlink`` prints, and its exit status."""
    asked, wanted = "", None
    rest = list(words)
    while rest:
        word, _, value = rest.pop(0).partition("=")
        if word in ("-i", "--id"):
            wanted = value or (rest.pop(0) if rest else "")
        else:
            asked = word
    if asked in ("", "-h", "--help"):
        return HELP, 0
    if asked not in ("-s", "--status", "-e", "--errorcounters"):
        return "Invalid combination of input arguments. Run 'nvidia-smi nvlink -h' for help.", 2
    there = connect()
    try:
        chosen = [there[n] for n in lab.only([gpu[1] for gpu in there], wanted)]
    except LookupError as error:
        return f"Failed to parse device specified at the command-line: {error}", 2
    show = status if asked in ("-s", "--status") else errors
    return "\n".join(line for gpu in chosen for line in [head(gpu), *show(gpu)]), 0


def head(gpu: Gpu) -> str:
    """The line of a GPU."""
    return "GPU %d: %s (UUID: %s)" % (gpu[0], gpu[2]["name"], gpu[2]["uuid"])


def active(gpu: Gpu) -> List[bool]:
    """Of each link whether it is active. A GPU that is alone has none to join with."""
    alone = len(lab.hardware()["gpus"]) < 2
    down = gpu[3]["nvlinks_down"]
    return [not alone and link not in down for link in range(gpu[2]["nvlinks"])]


def status(gpu: Gpu) -> List[str]:
    """-s."""
    up = active(gpu)
    if not up:
        return [_NONE]
    if not any(up):
        return [_INACTIVE]
    speed = "%g GB/s" % gpu[2]["nvlink_speed"]
    return ["\t Link %d: %s" % (n, speed if on else "<inactive>") for n, on in enumerate(up)]


def errors(gpu: Gpu) -> List[str]:
    """-e. Of links that are not active nothing is counted."""
    lines = []
    new = gpu[2]["architecture"] in ("blackwell", "rubin")
    for link, on in enumerate(active(gpu)):
        if not on:
            continue
        counted = gpu[3]["nvlink_errors"].get(str(link), {})
        if new:
            counted = {_SAME.get(name, name): count for name, count in counted.items()}
            lines.append("\t Link %d: Tx packets: %d" % (link, 9082340923 + link))
        for name in _NEW_COUNTERS if new else _COUNTERS:
            lines.append("\t Link %d: %s: %d" % (link, name, counted.get(name, 0)))
        if new:
            lines.append("\t Link %d: Effective BER: 15e-255" % link)
            lines.append("\t Link %d: FEC Errors - 0: %d" % (link, 36140749276 + link))
        lines.append("")
    return lines
