"""Rules of packet filters that Kubernetes and pod networks made: those alone are taken away."""

import re
import shutil
from typing import Dict, List, Tuple

from .host import RefusedError, last_line, run, tell

OURS = r"(?:KUBE-|CNI-|cali-|FLANNEL|CILIUM_|OLD_CILIUM_|AIPROV-PODS)"
"""How their chains and sets are named: kube-proxy and kubelet, CNI's plugins, the networks."""

NODE_PORTS = range(30000, 32768)


def clear(service_addresses: List[str]) -> None:
    """Take away the rules of all kinds. ``service_addresses``: of kube-proxy's own interface."""
    for save, restore in (
        ("iptables-save", "iptables-restore"),
        ("ip6tables-save", "ip6tables-restore"),
    ):
        if shutil.which(save) and shutil.which(restore):
            _clear_tables(save, restore)
    if shutil.which("ipvsadm"):
        _clear_virtual_servers(service_addresses)
    if shutil.which("ipset"):
        for name in re.findall(rf"^{OURS}.*$", run(["ipset", "list", "-n"])[1], re.MULTILINE):
            run(["ipset", "destroy", name])
    if shutil.which("nft"):
        for family in re.findall(r"^table (\S+) kube-proxy$", run(["nft", "list", "tables"])[1], 8):
            run(["nft", "delete", "table", family, "kube-proxy"])


def _clear_tables(save: str, restore: str) -> None:
    status, said, wrong = run([save])
    if status != 0:
        tell(f"{save} does not work, its rules are left: {last_line(wrong) or status}")
        return
    script = removal(said)
    if not script:
        return
    tell(f"take {script.count('-D ')} rules and {script.count('-X ')} chains out by {restore}")
    # Without flushing: the rules of others are not even written again.
    status, _, wrong = run([restore, "--noflush"], stdin=script)
    if status != 0:
        raise RefusedError(
            f"{restore} does not take away Kubernetes' rules: {last_line(wrong) or status}",
            f"see {save}; then run aiprov again",
        )


def removal(saved: str) -> str:
    """What removes Kubernetes' rules, by what iptables-save says; empty where there are none."""
    tables: Dict[str, Tuple[List[str], List[str]]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            tables[table] = ([], [])
        elif table:
            rules, chains = tables[table]
            chain = re.match(rf":({OURS}\S*)", line)
            if chain:
                chains.append(chain.group(1))
            elif line.startswith("-A ") and not re.match(rf"-A {OURS}", line) and _is_ours(line):
                rules.append(f"-D {line[3:]}")
    parts = []
    for name, (rules, chains) in tables.items():
        if rules or chains:
            emptied = [f"-F {chain}" for chain in chains]
            dropped = [f"-X {chain}" for chain in chains]
            parts.append("\n".join([f"*{name}", *rules, *emptied, *dropped, "COMMIT\n"]))
    return "".join(parts)


def _is_ours(rule: str) -> bool:
    """Whether a rule in a chain of others is Kubernetes': by where it leads, or its comment."""
    return bool(
        re.search(rf" -[jg] {OURS}", rule)
        or re.search(r'--comment "?(?:kubernetes |cali:|cilium|flanneld )', rule)
    )


def _clear_virtual_servers(addresses: List[str]) -> None:
    """kube-proxy's, in its mode ipvs: on its own addresses, or on ports of nodes."""
    for line in run(["ipvsadm", "-Sn"])[1].splitlines():
        found = re.match(r"-A (-[tu]) (\S+):(\d+)", line)
        if not found:
            continue
        kind, address, port = found.groups()
        if address.strip("[]") in addresses or int(port) in NODE_PORTS:
            run(["ipvsadm", "-D", kind, f"{address}:{port}"])
