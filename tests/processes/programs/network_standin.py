"""Stands for ip, iptables and ip6tables, by the name that it is called: one JSON file is the host.

It knows what kube-routes asks of them, and says it as iproute2 6.1 and iptables 1.8.9 do.
"""

import json
import os
import sys
from pathlib import Path

STATE = Path(os.environ["STANDIN_STATE"])


def main(name, words):
    state = json.loads(STATE.read_text())
    if name == "ip":
        said = ip(state, words)
    elif name.endswith("-restore"):
        said = restore(state[name.split("-")[0]], sys.stdin.read().splitlines())
    else:
        said = "".join(line + "\n" for line in listed(state[name]))
    STATE.write_text(json.dumps(state))
    sys.stdout.write(said)


def ip(state, words):
    if words == ["-j", "addr", "show"]:
        return json.dumps(state["links"])
    if words == ["-j", "link"]:
        return json.dumps([{"ifname": link["ifname"]} for link in state["links"]])
    if words[:2] == ["link", "delete"]:
        state["links"] = [link for link in state["links"] if link["ifname"] != words[2]]
        return ""
    if words[:3] == ["-j", "route", "get"]:
        if state["router"] is None:
            sys.exit("RTNETLINK answers: Network is unreachable")
        return json.dumps([{"dst": words[3], "gateway": state["router"]}])
    table = state["routes"][words[0]]
    if words[1:] == ["-j", "route", "show", "proto", "242"]:
        return json.dumps([{"dst": net, "gateway": via} for net, via in table.items()])
    assert words[1:] == ["-force", "-batch", "-"], words
    for line in sys.stdin.read().splitlines():
        verb = line.split()
        if verb[1] == "replace":
            table[verb[2]] = verb[4]
        else:
            del table[verb[2]]
    return ""


def listed(table):
    chains = ["-N " + chain for chain in table if chain != "POSTROUTING"]
    rules = [f"-A {chain} {rule}" for chain in table for rule in table[chain]]
    return ["-P PREROUTING ACCEPT", "-P POSTROUTING ACCEPT", *chains, *rules]


def restore(table, lines):
    assert (lines[0], lines[-1]) == ("*nat", "COMMIT"), lines
    for line in lines[1:-1]:
        verb, _, rule = line.partition(" ")
        chain, _, rest = rule.partition(" ")
        if verb.startswith(":"):
            table[verb[1:]] = []
        elif verb == "-A":
            table[chain].append(rest)
        elif verb == "-D":
            table[chain].remove(rest)
        elif verb == "-X":
            assert not table[chain] and not any(chain in item for item in table["POSTROUTING"])
            del table[chain]
    return ""


main(Path(sys.argv[0]).name, sys.argv[1:])
