"""A stand-in for ``scontrol`` with a cluster in a JSON file: what it says and does is as Slurm
22.05.8's slurmctld and scontrol did (2026-11-21).

    {"nodes": {"gpu01": {"state": ["IDLE"], "reason": "", "by": "", "at": ""}}, "fails": ""}
"""

import json
import os
import sys
from pathlib import Path

LINE = (
    "NodeName={name} CoresPerSocket=1  CPUAlloc=0 CPUEfctv=4 CPUTot=4 CPULoad=N/A "
    "AvailableFeatures=(null) ActiveFeatures=(null) Gres=(null) NodeAddr=127.0.0.1 "
    "NodeHostName={name}  RealMemory=1000 AllocMem=0 FreeMem=N/A Sockets=4 Boards=1 State={state} "
    "ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=all  BootTime=None "
    "SlurmdStartTime=None LastBusyTime=Unknown CfgTRES=cpu=4,mem=1000M,billing=4 AllocTRES= "
    "CapWatts=n/a CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s ExtSensorsWatts=0 "
    "ExtSensorsTemp=n/s{reason}{comment}"
)
PLACE = Path(os.environ["STAND_IN_SLURM"])


def show(nodes: dict, name: str) -> None:
    about = nodes[name]
    reason = f" Reason={about['reason']} [{about['by']}@{about['at']}]" if about["reason"] else ""
    comment = f" Comment={about['comment']}" if about.get("comment") else ""
    state = "+".join(about["state"])
    print(LINE.format(name=name, state=state, reason=reason, comment=comment))


def update(about: dict, words: dict) -> None:
    state, reason = words.get("state", ""), words.get("reason")
    flags = about["state"]
    if state == "drain":
        if not reason:
            sys.exit("You must specify a reason when DRAINING a node. Request denied")
        about["state"] = [flags[0], "DRAIN", *(one for one in flags[1:] if one != "DRAIN")]
    elif state == "undrain":
        about["state"] = [one for one in flags if one != "DRAIN"]
        if flags[0] != "DOWN":
            about["reason"] = ""
    elif state:
        sys.exit("Invalid input: state=" + state)
    if reason:
        about.update(reason=reason, by="root", at="2026-11-21T23:32:05")


def main(words: list) -> int:
    slurm = json.loads(PLACE.read_text())
    if slurm.get("fails"):
        kind = "slurm_load_node" if words[0] == "show" else "slurm_update"
        sys.exit(f"{kind} error: {slurm['fails']}")
    nodes = slurm["nodes"]
    if words[:3] == ["show", "node", "-o"]:
        for name in words[3:] or nodes:
            if name not in nodes:
                print(f"Node {name} not found")
                return 1
            show(nodes, name)
        return 0
    given = dict(word.split("=", 1) for word in words[1:])
    slurm.setdefault("calls", []).append(words)
    if given["nodename"] not in nodes:
        sys.exit("slurm_update error: Invalid node name specified")
    if slurm.get("denied"):
        sys.exit("slurm_update error: Invalid user id")
    about = nodes[given["nodename"]]
    unknown = given.get("state") == "undrain" and about["state"][0] == "UNKNOWN"
    update(about, given)
    PLACE.write_text(json.dumps(slurm))
    if unknown:  # it is done all the same
        sys.exit("slurm_update error: Invalid node state specified")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
