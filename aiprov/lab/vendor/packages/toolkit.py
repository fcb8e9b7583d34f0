"""The NVIDIA container toolkit: four packages at one version.

What each holds: packaging/debian of NVIDIA/nvidia-container-toolkit 1.20.0 (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable

from aiprov.lab.vendor import parts
from aiprov.lab.vendor.package import Content, Package

VERSIONS = ("1.19.1", "1.20.0")

REFRESH = Content(
    text="""\
[Unit]
Description=Refresh NVIDIA CDI specification file (Stand-in of aiprov's lab)
ConditionPathExists=/usr/bin/nvidia-smi
ConditionPathExists=/usr/bin/nvidia-ctk
After=multi-user.target

[Service]
Type=oneshot
Environment=NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml
EnvironmentFile=-/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env
ExecCondition=/usr/bin/grep -qE '/nvidia(-current)?\\.ko' /lib/modules/%v/modules.dep
ExecStart=/usr/bin/nvidia-ctk cdi generate

[Install]
WantedBy=multi-user.target
"""
)
REFRESH_PATH = Content(
    text="""\
[Unit]
Description=Trigger CDI refresh on NVIDIA driver install / uninstall (Stand-in of aiprov's lab)

[Path]
PathChanged=/lib/modules/%v/modules.dep
PathChanged=/lib/modules/%v/modules.dep.bin
PathModified=/usr/bin/nvidia-ctk

[Install]
WantedBy=multi-user.target
"""
)
CONFIG = Content(
    text="""\
#accept-nvidia-visible-devices-as-volume-mounts = false
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
#debug = "/var/log/nvidia-container-toolkit.log"
environment = []
#ldcache = "/etc/ld.so.cache"
ldconfig = "@/sbin/ldconfig"
load-kmods = true
#no-cgroups = false
#path = "/usr/bin/nvidia-container-cli"
#root = "/run/nvidia/driver"
#user = "root:video"

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
skip-mode-detection = false

[nvidia-ctk]
path = "nvidia-ctk"
"""
)


def deb_packages() -> list[Package]:
    """All of it for apt."""
    return [one for version in VERSIONS for one in _packages(version, "{} (= {})")]


def rpm_packages() -> list[Package]:
    """All of it for dnf."""
    return [one for version in VERSIONS for one in _packages(version, "{} = {}")]


def _packages(version: str, equal: str) -> Iterable[Package]:
    debian = "(" in equal
    full = f"{version}-1"
    same = {"version": version, "release": "1", "batch": f"toolkit-{version}"}
    folder = parts.DEB_LIBRARIES if debian else parts.RPM_LIBRARIES
    units = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service")
    sonames = ("libnvidia-container.so.1",)
    yield Package(
        name="libnvidia-container1",
        summary="library of the container toolkit",
        files=parts.libraries(folder, sonames, version),
        links=parts.library_links(folder, sonames, version),
        scripts={"postinst": "ldconfig", "postrm": "ldconfig"} if debian else {},
        **same,  # type: ignore[arg-type]
    )
    yield Package(
        name="libnvidia-container-tools",
        summary="nvidia-container-cli",
        depends=(equal.format("libnvidia-container1", full), "python3"),
        files={"/usr/bin/nvidia-container-cli": parts.program("nvidia_container_cli.py", version)},
        **same,  # type: ignore[arg-type]
    )
    yield Package(
        name="nvidia-container-toolkit-base",
        summary="nvidia-ctk, the container runtime and CDI",
        depends=("python3",),
        files={
            "/usr/bin/nvidia-ctk": parts.program("nvidia_ctk.py", version),
            "/usr/bin/nvidia-container-runtime": parts.program("nvidia_container_runtime.py",
                                                               version),
            "/etc/nvidia-container-runtime/config.toml": CONFIG,
            "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env": Content(
                text="# NVIDIA_CTK_CDI_OUTPUT_FILE_PATH=/var/run/cdi/nvidia.yaml\n"
            ),
            "/etc/systemd/system/nvidia-cdi-refresh.path": REFRESH_PATH,
            "/etc/systemd/system/nvidia-cdi-refresh.service": REFRESH,
        },
        scripts=parts.unit_scripts(*units, enable=True) if debian else {},
        **same,  # type: ignore[arg-type]
    )  # fmt: skip
    needs = ("nvidia-container-toolkit-base", "libnvidia-container-tools")
    yield Package(
        name="nvidia-container-toolkit",
        summary="the container toolkit, all of it",
        depends=tuple(equal.format(name, full) for name in needs),
        files={
            "/usr/bin/nvidia-container-runtime-hook": parts.program(
                "nvidia_container_runtime_hook.sh", version
            )
        },
        **same,  # type: ignore[arg-type]
    )
