"""What goes into containerd's config.toml and hosts.toml, in each version of its schema.

Schema 2 has the whole CRI in one plugin; 3 split it into images and runtime; 4 moved only the
daemon's sockets, which this role does not touch. See containerd's docs/cri/config.md,
docs/hosts.md and docs/man/containerd-config.toml.5.md (read at 301026e58c61, 2026-08-22).
"""

from __future__ import annotations

from typing import Any

import tomlkit

from aiprov.catalog import ContainerdLine
from aiprov.roles.containerd.settings import RUNC, Registry, Runtime, Vars
from aiprov.values import laid_over

CRI = "io.containerd.grpc.v1.cri"
IMAGES = "io.containerd.cri.v1.images"
RUNTIME = "io.containerd.cri.v1.runtime"


def config(vars: Vars, line: ContainerdLine, schema: int) -> dict[str, Any]:
    """The keys of config.toml that are ours, for a containerd of this line."""
    values: dict[str, Any] = {
        "version": schema,
        "disabled_plugins": list(vars.containerd_disabled_plugins),
        "imports": list(vars.containerd_imports),
    }
    if vars.containerd_data_root is not None:
        values["root"] = vars.containerd_data_root
    values["plugins"] = _cri_2(vars, line) if schema == 2 else _cri_3(vars, line)
    return laid_over(values, vars.containerd_config_extra)


def _cri_2(vars: Vars, line: ContainerdLine) -> dict[str, Any]:
    cri: dict[str, Any] = {}
    if vars.containerd_sandbox_image is not None:
        cri["sandbox_image"] = vars.containerd_sandbox_image
    if line.cdi == "off":
        cri["enable_cdi"] = vars.containerd_cdi
    elif line.cdi == "on" and not vars.containerd_cdi:
        cri["enable_cdi"] = False
    cri["containerd"] = _containerd(vars)
    if vars.containerd_snapshotter is not None:
        cri["containerd"]["snapshotter"] = vars.containerd_snapshotter
    if vars.containerd_registries:
        cri["registry"] = {"config_path": "/etc/containerd/certs.d"}
    if cni := _cni(vars, bin_dirs=False):
        cri["cni"] = cni
    return {CRI: cri}


def _cri_3(vars: Vars, line: ContainerdLine) -> dict[str, Any]:
    images: dict[str, Any] = {}
    if vars.containerd_snapshotter is not None:
        images["snapshotter"] = vars.containerd_snapshotter
    if vars.containerd_sandbox_image is not None:
        images["pinned_images"] = {"sandbox": vars.containerd_sandbox_image}
    if vars.containerd_registries:
        images["registry"] = {"config_path": "/etc/containerd/certs.d"}
    runtime: dict[str, Any] = {}
    if not vars.containerd_cdi:
        runtime["enable_cdi"] = False
    runtime["containerd"] = _containerd(vars)
    if cni := _cni(vars, bin_dirs=line.cni_bin_dirs):
        runtime["cni"] = cni
    return {IMAGES: images, RUNTIME: runtime} if images else {RUNTIME: runtime}


def _containerd(vars: Vars) -> dict[str, Any]:
    runtimes = {"runc": Runtime(), **vars.containerd_runtimes}
    return {
        "default_runtime_name": vars.containerd_default_runtime,
        "runtimes": {
            name: runtime_table(runtime, vars.containerd_systemd_cgroup)
            for name, runtime in runtimes.items()
        },
    }


def runtime_table(runtime: Runtime, systemd_cgroup: bool) -> dict[str, Any]:
    """One runtime. Every one that runs runc's shim has to agree about who manages cgroups."""
    options: dict[str, Any] = {}
    if runtime.binary is not None:
        options["BinaryName"] = runtime.binary
    if runtime.type == RUNC:
        options["SystemdCgroup"] = systemd_cgroup
    options |= runtime.options
    values: dict[str, Any] = {"runtime_type": runtime.type, **runtime.extra}
    return {**values, "options": options} if options else values


def _cni(vars: Vars, *, bin_dirs: bool) -> dict[str, Any]:
    cni: dict[str, Any] = {}
    if vars.containerd_cni_bin_dir is not None:
        if bin_dirs:
            # With both set the daemon refuses to start: the older key has to go.
            cni |= {"bin_dir": None, "bin_dirs": [vars.containerd_cni_bin_dir]}
        else:
            cni["bin_dir"] = vars.containerd_cni_bin_dir
    if vars.containerd_cni_conf_dir is not None:
        cni["conf_dir"] = vars.containerd_cni_conf_dir
    return cni


def hosts_toml(registry: Registry) -> str:
    """A registry's hosts.toml."""
    document = tomlkit.document()
    if registry.server is not None:
        document["server"] = registry.server
    hosts: dict[str, Any] = {}
    for mirror in registry.mirrors:
        host: dict[str, Any] = {"capabilities": list(mirror.capabilities)}
        if mirror.ca is not None:
            host["ca"] = mirror.ca
        if mirror.skip_verify:
            host["skip_verify"] = True
        if mirror.override_path:
            host["override_path"] = True
        hosts[mirror.url] = host
    if hosts:
        document["host"] = hosts
    return tomlkit.dumps(document)
