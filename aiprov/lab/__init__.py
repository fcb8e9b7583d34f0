"""Throwaway real hosts on this machine: systemd-nspawn guests with their own network and keys.

For trying, teaching and testing. ``up`` brings hosts up, ``down`` leaves nothing of them; the hosts
are ordinary ssh hosts with an ordinary Ansible inventory, so nothing else needs to know of the lab.
"""

from aiprov.lab.access import boot_id, run_in, ssh_argv
from aiprov.lab.build import HostSpec, down, remove_host, up
from aiprov.lab.gpus import Gpus, gpus
from aiprov.lab.handle import HostStatus, Lab, status
from aiprov.lab.machine import missing_tools
from aiprov.lab.pci import PciDevice
from aiprov.lab.state import cache_directory, default_directory

__all__ = [
    "Gpus",
    "HostSpec",
    "HostStatus",
    "Lab",
    "PciDevice",
    "boot_id",
    "cache_directory",
    "default_directory",
    "down",
    "gpus",
    "missing_tools",
    "remove_host",
    "run_in",
    "ssh_argv",
    "status",
    "up",
]
