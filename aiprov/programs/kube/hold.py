"""The endpoint's address on this host while the cluster is made, until kube-vip has it.

kube-vip takes its Lease with admin.conf, which may do so only after kubeadm has bound its group,
and kubeadm does that through the endpoint: so the address has to be somewhere before.
"""

import json
from contextlib import contextmanager
from typing import Iterator, Set

from .host import RefusedError, must, tell, wait


@contextmanager
def held(address: str, wait_s: float) -> Iterator[None]:
    """The address on the loopback for this time, and after it on one of kube-vip's interfaces.

    Nothing is done for no address. Raises ``RefusedError`` where kube-vip does not take it.
    """
    if not address:
        yield
        return
    where = f"{address}/{128 if ':' in address else 32}"
    if not holders(address):
        tell(f"{address} is on this host's loopback until kube-vip has it")
        must(["ip", "address", "add", where, "dev", "lo"])
    try:
        yield
        taken = wait(lambda: holders(address) - {"lo"}, f"kube-vip to take {address}", wait_s)
    finally:
        if "lo" in holders(address):
            must(["ip", "address", "delete", where, "dev", "lo"])
    if not taken:
        raise RefusedError(
            f"the cluster is made, but kube-vip has not taken {address} within {wait_s:.0f} s",
            "crictl logs of the kube-vip container tells why; then run aiprov again",
        )


def holders(address: str) -> Set[str]:
    """The interfaces of this host that have an address."""
    found = json.loads(must(["ip", "-j", "address", "show"]) or "[]")
    return {
        link["ifname"]
        for link in found
        for item in link.get("addr_info", [])
        if item.get("local") == address
    }
