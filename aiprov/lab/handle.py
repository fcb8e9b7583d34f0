"""One lab as an object: what tests, benches and notebooks hold in their hands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiprov.lab import access, build, delay, faults, gpu_faults, images
from aiprov.lab.build import HostSpec
from aiprov.lab.machine import call
from aiprov.lab.state import Folder, Host
from aiprov.lab.vendor import Kind, served


@dataclass(frozen=True, kw_only=True)
class HostStatus:
    """How a host is right now."""

    name: str
    suite: str
    address: str
    state: Literal["running", "off"]


def status(directory: Path) -> list[HostStatus]:
    """The hosts of the lab in this folder; none where there is no lab."""
    folder = Folder(directory.absolute())
    return [
        HostStatus(
            name=host.name,
            suite=host.suite,
            address=host.address,
            state="running" if access.is_running(folder, host) else "off",
        )
        for host in folder.read_hosts()
    ]


@dataclass(frozen=True)
class Lab:
    """A lab by its folder. Two handles on one folder are the same lab."""

    directory: Path

    @property
    def folder(self) -> Folder:
        return Folder(self.directory.absolute())

    @property
    def inventory(self) -> Path:
        return self.folder.inventory

    @property
    def ssh_config(self) -> Path:
        return self.folder.ssh_config

    @property
    def private_key(self) -> Path:
        return self.folder.key

    @property
    def known_hosts(self) -> Path:
        return self.folder.known_hosts

    @property
    def ops_password(self) -> str:
        """The password with which user ``ops`` may use sudo."""
        return self.folder.password.read_text(encoding="ascii").strip()

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts by name, in order of their addresses."""
        return {host.name: host for host in self.folder.read_hosts()}

    def up(
        self,
        specs: Sequence[HostSpec],
        *,
        variables: Mapping[str, Any] | None = None,
        vendor: Sequence[Kind] = (),
        kubernetes: Sequence[str] = (),
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        build.up(
            specs,
            self.directory,
            variables=variables,
            vendor=vendor,
            kubernetes=kubernetes,
            say=say,
        )

    def publish_broken_driver(self, version: str) -> None:
        """Put a version into the stand-in repositories whose modules build on no kernel."""
        served.publish(self.folder, version)

    def down(self) -> None:
        build.down(self.directory)

    def remove(self, name: str) -> None:
        build.remove_host(self.directory, name)

    def ssh_argv(self, name: str, user: str = "root") -> list[str]:
        return access.ssh_argv(self.directory, name, user)

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = 600,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program on a host as root, from the machine's side; raises where it fails."""
        done = access.run_in(self.directory, name, argv, stdin=stdin, timeout=timeout)
        if check:
            access.must(name, argv, done)
        return done

    def status(self) -> list[HostStatus]:
        return status(self.directory)

    def link_delay(self, milliseconds: float) -> None:
        delay.link_delay(self.directory, milliseconds)

    def cut(self, name: str) -> None:
        faults.cut(self.directory, name)

    def restore(self, name: str) -> None:
        faults.restore(self.directory, name)

    def hang(self, name: str) -> None:
        faults.hang(self.directory, name)

    def resume(self, name: str) -> None:
        faults.resume(self.directory, name)

    def kill(self, name: str) -> None:
        faults.kill(self.directory, name)

    def start(self, name: str) -> None:
        faults.start(self.directory, name)

    def reboot(self, name: str) -> None:
        faults.reboot(self.directory, name)

    def boot_id(self, name: str) -> str:
        return access.boot_id(self.directory, name)

    def full_disk(self, name: str, path: str, free: int = 0) -> AbstractContextManager[None]:
        return faults.full_disk(self.directory, name, path, free)

    def apt_lock(self, name: str) -> AbstractContextManager[int]:
        return faults.apt_lock(self.directory, name)

    def gpu_fault(
        self, name: str, fault: gpu_faults.GpuFault, *, gpu: int = 0, code: int = 79
    ) -> None:
        """Break a simulated GPU of a running host: see ``gpu_faults``."""
        gpu_faults.gpu_fault(self.directory, name, fault, gpu=gpu, code=code)

    def hold_gpu(self, name: str, index: int = 0) -> AbstractContextManager[int]:
        """For a while, a process works on a GPU; gives its id on the host."""
        return gpu_faults.hold_gpu(self.directory, name, index)

    def import_image(
        self, name: str, engine: Literal["docker", "containerd"] = "docker", **wanted: Any
    ) -> str:
        return images.import_image(self.directory, name, engine, **wanted)

    def ssh(
        self, name: str, command: str, *, user: str = "root", timeout: float | None = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a shell command on a host over ssh, as any user would."""
        return call([*self.ssh_argv(name, user), command], timeout=timeout)
