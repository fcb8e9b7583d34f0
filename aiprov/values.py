"""Types of settings that several roles have: URLs, networks, sizes, versions, proxies."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, StringConstraints

from aiprov.resources import Absent, Directory, File, Resource, Secret


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is not an http:// or https:// URL")
    if any(character.isspace() or character in "\"'\\" for character in value):
        raise ValueError("a URL has no spaces, quotes or backslashes")
    return value.rstrip("/")


def _secret_url(value: SecretStr) -> SecretStr:
    try:
        return SecretStr(_url(value.get_secret_value()))
    except ValueError:
        # The reason would repeat the value, and with it the password.
        raise ValueError("not an http:// or https:// URL") from None


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not a network such as 10.200.0.0/16: {error}") from None


def _interface(value: str) -> str:
    try:
        interface = ip_interface(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an address such as 10.199.0.1/24") from None
    if "/" not in value or interface.ip == interface.network.network_address:
        raise ValueError(f"{value!r} is not a host's address with its prefix (10.199.0.1/24)")
    return str(interface)


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None


def _path(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or "\n" in value:
        raise ValueError(f"{value!r} is not an absolute path")
    return value.rstrip("/") or "/"


def _public_key(value: str) -> str:
    if not value.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        raise ValueError("not an armoured PGP public key")
    return value.rstrip("\n") + "\n"


Url = Annotated[str, AfterValidator(_url)]
"""An http or https URL, without a slash at its end."""

SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
"""A URL that may hold credentials, such as a proxy's."""

Cidr = Annotated[str, AfterValidator(_cidr)]
"""A network: ``10.200.0.0/16``. No host bits."""

InterfaceAddress = Annotated[str, AfterValidator(_interface)]
"""An address within its network: ``10.199.0.1/24``."""

Address = Annotated[str, AfterValidator(_address)]
"""An IPv4 or IPv6 address."""

Path = Annotated[str, AfterValidator(_path)]
"""An absolute path on the host."""

PublicKey = Annotated[str, AfterValidator(_public_key)]
"""An armoured public key that signs a repository. It ends with one line break."""

Size = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*[kmg]$")]
"""A number of bytes as Docker writes it: ``10m``."""

Version = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){1,3}$")]
"""An upstream version or a dotted prefix of one, with at least two parts: ``29.4``."""

PackageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]*$")]
"""A package's name."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A plain name: no slash, no space."""


Destination = Annotated[str, StringConstraints(pattern=r"^[^\s\"'\\,]+$")]
"""What is reached without a proxy: a host, domain or network. No blank, quote or comma."""


def proxy_environment(
    http: SecretStr | None, https: SecretStr | None, none_for: tuple[str, ...]
) -> dict[str, str]:
    """The environment variables of a proxy, in the upper case that Go programs read first.

    Empty where no proxy is given. The values may hold credentials.
    """
    variables = {}
    if http is not None:
        variables["HTTP_PROXY"] = http.get_secret_value()
    if https is not None:
        variables["HTTPS_PROXY"] = https.get_secret_value()
    if variables and none_for:
        variables["NO_PROXY"] = ",".join(none_for)
    return variables


def unit_proxy(unit: str, variables: Mapping[str, str]) -> list[Resource]:
    """The files that give a unit its proxy; without one, those of an earlier proxy go.

    The values lie in a file of their own that root alone may read: what a drop-in says by
    ``Environment=``, ``systemctl show`` tells every user (systemd.exec(5)).
    """
    drop_in, values = proxy_files(unit)
    if not variables:
        return [Absent(path=drop_in), Absent(path=values)]
    return [
        Directory(path=f"/etc/systemd/system/{unit}.d"),
        environment_file(values, variables),
        File(path=drop_in, content=f"[Service]\nEnvironmentFile={values}\n"),
    ]


def proxy_files(unit: str) -> tuple[str, str]:
    """Where a unit's proxy is written, which the unit restarts on: the drop-in and its values."""
    stem = f"/etc/systemd/system/{unit}.d/aiprov-proxy"
    return f"{stem}.conf", f"{stem}.env"


def environment_file(path: str, variables: Mapping[str, str]) -> File | Absent:
    """Variables as systemd's ``EnvironmentFile=`` reads them: quoted, nothing is expanded.

    Root alone may read the file; without variables there is none.
    """
    if not variables:
        return Absent(path=path)
    quoted = {
        name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in variables.items()
    }
    content = Secret("".join(f'{name}="{value}"\n' for name, value in quoted.items()))
    return File(path=path, content=content, mode=0o600)


def laid_over(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with ``more`` laid over them: mappings merge, anything else is replaced."""
    united = dict(values)
    for key, value in more.items():
        present = united.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            united[key] = laid_over(present, value)
        else:
            united[key] = value
    return united
