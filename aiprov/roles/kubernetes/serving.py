"""Kubelets' serving certificates: who approves them, on control planes."""

from __future__ import annotations

from aiprov import programs
from aiprov.resources import Absent, File, Package, Resource, Service
from aiprov.roles.kubernetes.settings import Vars
from aiprov.survey.facts import Facts

PROGRAM = "kube-approve"
NAME = "aiprov-kubelet-certificates"
UNIT_FILE = f"/etc/systemd/system/{NAME}.service"
TIMER_FILE = f"/etc/systemd/system/{NAME}.timer"
UNIT = f"{NAME}.service"
TIMER = f"{NAME}.timer"

_UNIT = f"""\
[Unit]
Description=Approve kubelets' serving certificates
ConditionPathExists=/etc/kubernetes/admin.conf

[Service]
Type=oneshot
ExecStart={programs.path(PROGRAM)} once
# What it says is kept, but not that it ran.
SyslogLevel=notice
LogLevelMax=notice
"""
_TIMER = """\
[Unit]
Description=Approve kubelets' serving certificates

[Timer]
OnActiveSec=15s
OnUnitInactiveSec=15s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def resources(vars: Vars, host: Facts) -> list[Resource]:
    """A timer on every control plane; without such certificates it goes."""
    if not vars.kubernetes_kubelet_serving_certificates:
        return [
            Service(name=TIMER, enabled=False, running=False),
            Absent(path=TIMER_FILE),
            Absent(path=UNIT_FILE),
        ]
    return [
        Package(name="openssl"),
        *programs.program(PROGRAM, host),
        File(path=UNIT_FILE, content=_UNIT),
        File(path=TIMER_FILE, content=_TIMER),
        Service(name=UNIT, masked=False),  # systemd reads it anew when it changes
        Service(name=TIMER, enabled=True, running=True, restart_on=(TIMER_FILE,)),
    ]
