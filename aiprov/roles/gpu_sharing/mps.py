"""CUDA's multi-process service, for which NVIDIA delivers programs but no unit.

Its control daemon has the folder that CUDA programs look in without being told (/tmp/nvidia-mps).
docs.nvidia.com/deploy/mps, Appendix: Tools and Interface Reference (read 2026-11-21).
"""

from __future__ import annotations

from aiprov import programs
from aiprov.errors import UnsupportedError
from aiprov.resources import Absent, Command, File, Resource, Service, Succeeds
from aiprov.roles.gpu_sharing.settings import Vars
from aiprov.stack import gpu_devices, gpu_models
from aiprov.survey.facts import Facts

UNIT = "aiprov-mps.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
PROGRAM = "mps"
PIPES = "/tmp/nvidia-mps"  # noqa: S108  where every CUDA program looks for it
KEPT = "/etc/tmpfiles.d/aiprov-mps.conf"

_TMPFILES = f"""\
# The pipes of MPS are as old as its daemon, and must not be cleaned away for that.
x {PIPES}
x {PIPES}/*
"""


def resources(vars: Vars, host: Facts) -> list[Resource]:
    """The unit, its limits, and a question whether it answers; or that nothing of it is left."""
    program = programs.path(PROGRAM)
    if not vars.gpu_sharing_mps:
        return [
            Service(name=UNIT, enabled=False, running=False),
            Absent(path=UNIT_FILE),
            Absent(path=KEPT),
            Absent(path=program),
        ]
    _refuse_old_gpus(vars, host)
    check = (program, "check", *_threads(vars))
    return [
        *programs.program(PROGRAM, host),
        File(path=KEPT, content=_TMPFILES),
        File(path=UNIT_FILE, content=_unit(vars, host)),
        Service(name=UNIT, enabled=True, running=True, restart_on=(UNIT_FILE,)),
        Command(
            name="MPS answers",
            argv=check,
            unless=Succeeds(argv=check),
            waits_for=(f"File[{program}]", f"File[{UNIT_FILE}]", f"Service[{UNIT}]"),
        ),
    ]


def _refuse_old_gpus(vars: Vars, host: Facts) -> None:
    """GPUs before Volta share by turns, and know no limits."""
    limits = (
        vars.gpu_sharing_mps_active_thread_percentage,
        vars.gpu_sharing_mps_pinned_memory_limit,
    )
    for model in gpu_models(host):
        if model.architecture in ("maxwell", "pascal") and limits != (None, None):
            raise UnsupportedError(
                f"MPS on {model.name} has no limits of a client's share: they came with Volta",
                hint="leave gpu_sharing_mps_active_thread_percentage and "
                "gpu_sharing_mps_pinned_memory_limit out",
            )


def _threads(vars: Vars) -> tuple[str, ...]:
    percentage = vars.gpu_sharing_mps_active_thread_percentage
    return () if percentage is None else ("--threads", str(percentage))


def _unit(vars: Vars, host: Facts) -> str:
    limits = list(_threads(vars))
    if (memory := vars.gpu_sharing_mps_pinned_memory_limit) is not None:
        for index in range(len(gpu_devices(host))):
            limits += ["--memory", f"{index}={memory}"]
    program = programs.path(PROGRAM)
    after = f"ExecStartPost={program} limit {' '.join(limits)}\n" if limits else ""
    return f"""\
[Unit]
Description=CUDA multi-process service
Documentation=https://docs.nvidia.com/deploy/mps/
After=nvidia-persistenced.service nvidia-fabricmanager.service aiprov-compute-mode.service
Before=docker.service containerd.service crio.service kubelet.service

[Service]
Type=forking
Environment=CUDA_MPS_PIPE_DIRECTORY={PIPES}
Environment=CUDA_MPS_LOG_DIRECTORY=/var/log/nvidia-mps
PIDFile={PIPES}/nvidia-cuda-mps-control.pid
ExecStart=/usr/bin/nvidia-cuda-mps-control -d
{after}ExecStop={program} stop
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
