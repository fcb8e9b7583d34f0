"""Docker's repository: Debian's own containerd and Docker under Docker's names and versions.

Docker's packages are large and their archive is not reachable from every machine, so Debian's are
fetched by apt, which checks them, taken apart and put together as Docker divides them. Nothing of
them is in the project. Versions are those of the binaries, written as Docker writes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aiprov.errors import LabError
from aiprov.lab import proxy, sources
from aiprov.lab.machine import call, run
from aiprov.lab.state import cache_directory
from aiprov.lab.vendor import apt, deb, places
from aiprov.lab.vendor.package import STAND_IN, Content, Package
from aiprov.lab.vendor.signing import SigningKey

SUITES = {"bookworm": "12", "trixie": "13"}
CLIENT = "usr/bin/docker"
CONFIG = 'disabled_plugins = ["cri"]\n'
"""All that Docker's containerd.io has in its configuration (containerd #4581)."""
_DEBIAN = ("containerd", "runc", "docker.io")
_CLIENT_PACKAGE = "docker-cli"  # Debian 13 has the client in a package of its own
_MERGED = {*_DEBIAN, _CLIENT_PACKAGE, "docker-buildx", "docker-compose"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A package of Debian's, taken apart. ``tree`` holds its files, and ``DEBIAN``."""

    name: str
    tree: Path

    def field(self, name: str) -> str:
        """A field of its control file; empty where it has none."""
        text = (self.tree / "DEBIAN/control").read_text(encoding="utf-8")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        return ""

    @property
    def version(self) -> str:
        """The upstream version: 1.6.20 of ``1.6.20~ds1-1+deb12u1``."""
        found = self.field("Version").partition(":")[2] or self.field("Version")
        return found.partition("-")[0].partition("+")[0].partition("~")[0]

    @property
    def needs(self) -> list[str]:
        """What it depends on, without the packages that it is merged with."""
        told = [word.strip() for word in self.field("Depends").split(",") if word.strip()]
        return [word for word in told if word.split()[0] not in _MERGED]


def build(folder: Path, key: SigningKey) -> None:
    """Make Docker's repository for both suites. Raises ``LabError`` where Debian's is not there."""
    for suite, number in SUITES.items():
        with TemporaryDirectory(dir=folder) as scratch:
            work = Path(scratch)
            parts = {name: _apart(path, work) for name, path in _fetch(suite, work).items()}
            built = list(_packages(parts, f"debian.{number}~{suite}", work))
            root = folder / places.DOCKER / "linux" / "debian"
            apt.write_suite(root, suite, "stable", built, key)


def _fetch(suite: str, work: Path) -> dict[str, Path]:
    """Debian's packages by name, from where this machine has its own from."""
    archives = sources.debian(suite)
    listing = work / "debian.sources"
    listing.write_text(sources.deb822(archives), encoding="utf-8")
    (work / "status").touch()
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (work / name).mkdir(parents=True)
    with proxy.serving(archives, cache_directory() / "packages") as address:
        settings = {
            "Dir::Etc::sourcelist": str(listing),
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": "-",
            "Dir::State::lists": str(work / "lists"),
            "Dir::State::status": str(work / "status"),
            "Dir::Cache": str(work / "cache"),
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::http::Proxy": f"http://{address}",
        }
        command = ["env", f"--chdir={work / 'debs'}", "apt-get", "-qq"]
        command += [word for item in settings.items() for word in ("-o", "=".join(item))]
        run([*command, "update"], timeout=1200)
        run([*command, "download", *_DEBIAN], timeout=1200)
        call([*command, "download", _CLIENT_PACKAGE], timeout=1200)  # not in every suite
    found = {path.name.partition("_")[0]: path for path in (work / "debs").glob("*.deb")}
    missing = [name for name in _DEBIAN if name not in found]
    if missing:
        raise LabError(f"Debian's {suite} has no {', '.join(missing)} here")
    return found


def _apart(path: Path, work: Path) -> Part:
    name = path.name.partition("_")[0]
    tree = work / "parts" / name
    tree.parent.mkdir(exist_ok=True)
    run(["dpkg-deb", "--raw-extract", str(path), str(tree)])
    return Part(name=name, tree=tree)


def _packages(parts: dict[str, Part], tag: str, work: Path) -> Iterable[apt.Entry]:
    """Docker's five packages out of Debian's three or four."""
    containerd, engine = parts["containerd"], parts["docker.io"]
    client = parts.get(_CLIENT_PACKAGE)
    (containerd.tree / "etc/containerd").mkdir(parents=True, exist_ok=True)
    (containerd.tree / "etc/containerd/config.toml").write_text(CONFIG, encoding="utf-8")
    shutil.copytree(
        parts["runc"].tree, containerd.tree, dirs_exist_ok=True, symlinks=True,
        ignore=shutil.ignore_patterns("DEBIAN"),
    )  # fmt: skip
    if client is None:
        client = Part(name=_CLIENT_PACKAGE, tree=work / "parts" / _CLIENT_PACKAGE)
        (client.tree / "DEBIAN").mkdir(parents=True)
        (client.tree / CLIENT).parent.mkdir(parents=True)
        (engine.tree / CLIENT).rename(client.tree / CLIENT)
        (client.tree / "DEBIAN/control").write_text("Depends: libc6\n", encoding="utf-8")
    version = f"{containerd.version}-1~{tag}"
    needs = [*containerd.needs, *parts["runc"].needs]
    yield _merged(containerd, "containerd.io", version, needs, ("containerd", "runc"), work)
    full = f"5:{engine.version}-1~{tag}"
    yield _merged(client, "docker-ce-cli", full, client.needs, ("docker-cli",), work)
    needs = [*engine.needs, "containerd.io", "docker-ce-cli"]
    yield _merged(engine, "docker-ce", full, needs, ("docker.io",), work)
    for name in ("docker-buildx-plugin", "docker-compose-plugin"):
        files = {f"/usr/share/{name}/README": Content(text=f"{STAND_IN}: no plugin\n")}
        yield apt.entry(Package(name=name, version="1.0", release=f"1~{tag}", files=files,
                                summary=f"{name}, without the plugin"))  # fmt: skip


def _merged(
    part: Part, name: str, version: str, needs: Sequence[str], rivals: Sequence[str], work: Path
) -> apt.Entry:
    """A tree made a package under another name; its maintainer scripts stay Debian's."""
    number, _, release = version.partition(":")[2].partition("-")
    if ":" not in version:
        number, _, release = version.partition("-")
    told = Package(
        name=name,
        version=number,
        release=release,
        epoch=int(version.partition(":")[0]) if ":" in version else 0,
        summary=f"Debian's {part.name} under the name of {name}",
        depends=tuple(dict.fromkeys(needs)),
        conflicts=tuple(rivals),
        replaces=tuple(rivals),
    )
    readme = part.tree / f"usr/share/doc/{name}/README"
    readme.parent.mkdir(parents=True, exist_ok=True)
    readme.write_text(told.readme, encoding="utf-8")
    (part.tree / "DEBIAN/md5sums").unlink(missing_ok=True)
    (part.tree / "DEBIAN/control").write_text(deb.control(told, "amd64"), encoding="utf-8")
    path = work / deb.filename(told)
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(part.tree), str(path)])
    return apt.entry_of(path)
