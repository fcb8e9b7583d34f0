"""Which kernel modules a lab host has: those that the machine has built in or loaded.

A host cannot load modules. What works on the machine all the same is listed on the host as built
into its kernel, so that modprobe, systemd and aiprov's survey find it as they do elsewhere.
"""

from __future__ import annotations

import gzip
import platform
from pathlib import Path

from aiprov.lab.machine import run

OPTIONS = {
    "br_netfilter": ("net/bridge", "CONFIG_BRIDGE_NETFILTER"),
    "overlay": ("fs/overlayfs", "CONFIG_OVERLAY_FS"),
    "nf_conntrack": ("net/netfilter", "CONFIG_NF_CONNTRACK"),
    "nf_tables": ("net/netfilter", "CONFIG_NF_TABLES"),
    "ip_set": ("net/netfilter/ipset", "CONFIG_IP_SET"),
    "ip_vs": ("net/netfilter/ipvs", "CONFIG_IP_VS"),
    "ip_vs_rr": ("net/netfilter/ipvs", "CONFIG_IP_VS_RR"),
    "ip_vs_wrr": ("net/netfilter/ipvs", "CONFIG_IP_VS_WRR"),
    "ip_vs_sh": ("net/netfilter/ipvs", "CONFIG_IP_VS_SH"),
    "vxlan": ("drivers/net", "CONFIG_VXLAN"),
    "ipip": ("net/ipv4", "CONFIG_NET_IPIP"),
    "wireguard": ("drivers/net/wireguard", "CONFIG_WIREGUARD"),
}
"""Modules that Kubernetes and its networks want: their place in the kernel, and its option.

kernel.org, the Makefiles of 6.18; read 2026-11-21.
"""
_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")


def modules(root: Path = Path("/")) -> list[str]:
    """The lines of ``modules.builtin`` for a lab host: paths of modules, sorted."""
    folder = root / "lib/modules" / platform.release()
    found = set()
    if (folder / "modules.builtin").exists():
        found |= set((folder / "modules.builtin").read_text(encoding="ascii").split())
    loaded = {line.split()[0] for line in _text(root / "proc/modules").splitlines()}
    chosen = {line for line in _config(root).splitlines() if line.endswith("=y")}
    for name, (place, option) in OPTIONS.items():
        if name in loaded or f"{option}=y" in chosen:
            found.add(f"kernel/{place}/{name}.ko")
    return sorted(found)


def lay(tree: Path) -> None:
    """Tell a host's modprobe what its kernel has built in."""
    kernel = platform.release()
    folder = tree / "lib/modules" / kernel
    folder.mkdir(parents=True, exist_ok=True)
    for name in _LISTS:
        lines = modules() if name == "modules.builtin" else []
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    run(["chroot", str(tree), "depmod", kernel])


def _config(root: Path) -> str:
    """How the machine's kernel was configured; empty where it does not say."""
    packed = root / "proc/config.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes()).decode("ascii")
    return _text(root / "boot" / f"config-{platform.release()}")


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""
