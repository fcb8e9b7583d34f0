"""Proxies and trusted certificate authorities."""

from __future__ import annotations

from aiprov.catalog import OperatingSystem
from aiprov.resources import Absent, Argv, Command, File, Package, Resource, Secret, UpToDate
from aiprov.roles.base.settings import Vars
from aiprov.values import proxy_environment

# The line that Ubuntu's images have in /etc/environment; Debian's and RHEL's files are empty.
UBUNTU_PATH = (
    'PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:'
    '/usr/games:/usr/local/games:/snap/bin"\n'
)

APT_PROXY = "/etc/apt/apt.conf.d/91aiprov-proxy"


def proxies(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """The proxy of the package manager and of every login."""
    proxy = proxy_environment(vars.base_http_proxy, vars.base_https_proxy, vars.base_no_proxy)
    wanted: list[Resource] = []
    if os.family == "debian":
        # A password is for root only: then `apt list` warns other users that it cannot read this.
        mode = 0o600 if any("@" in value for value in proxy.values()) else 0o644
        file = File(path=APT_PROXY, content=_apt(vars), mode=mode)
        wanted.append(file if proxy else Absent(path=APT_PROXY))
    if not proxy and not vars.base_environment:
        return wanted
    # curl reads http_proxy in lower case only, Go upper case first: both.
    variables = {**proxy, **{name.lower(): value for name, value in proxy.items()}}
    text = UBUNTU_PATH if os.id == "ubuntu" else ""
    for name, value in {**variables, **vars.base_environment}.items():
        text += f'{name}="{value}"\n'
    # Every login has to read it: who must not see the proxy's password gets no login.
    content = Secret(text) if proxy else text
    return [*wanted, File(path="/etc/environment", content=content)]


def _apt(vars: Vars) -> Secret:
    lines = []
    for scheme, url in (("http", vars.base_http_proxy), ("https", vars.base_https_proxy)):
        if url is not None:
            lines.append(f'Acquire::{scheme}::Proxy "{url.get_secret_value()}";\n')
    for host in vars.base_no_proxy:
        # apt knows exact hosts only: no networks, no domains, no IPv6 addresses.
        if "/" not in host and ":" not in host and not host.startswith((".", "*")):
            for scheme in ("http", "https"):
                lines.append(f'Acquire::{scheme}::Proxy::{host} "DIRECT";\n')
    return Secret("".join(lines))


def certificates(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """Certificate authorities, and the bundle that programs read made anew."""
    if not vars.base_ca_certificates:
        return []
    argv: Argv = ("update-ca-trust", "extract")
    folder, ending = "/etc/pki/ca-trust/source/anchors", "pem"
    bundle = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
    if os.family == "debian":
        argv = ("update-ca-certificates",)
        folder, ending = "/usr/local/share/ca-certificates", "crt"
        bundle = "/etc/ssl/certs/ca-certificates.crt"
    wanted = [
        File(path=f"{folder}/aiprov-{name}.{ending}", content=text.strip() + "\n")
        for name, text in sorted(vars.base_ca_certificates.items())
    ]
    return [
        Package(name="ca-certificates"),
        *wanted,
        Command(
            name="trust the CA certificates",
            argv=argv,
            unless=UpToDate(output=bundle, inputs=tuple(item.path for item in wanted)),
        ),
    ]
