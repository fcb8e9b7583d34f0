"""haproxy before all API servers: TLS goes through it untouched.

Directives: docs.haproxy.org/2.6/configuration.html (read 2026-11-21); no directive is newer than
1.9, but RHEL 8's 1.8 cannot log to standard output.
"""

from __future__ import annotations

from aiprov import programs
from aiprov.kubernetes.endpoint.spec import EndpointSpec
from aiprov.resources import STAGED, Command, File, Package, Resource, Service, Succeeds, Sysctl
from aiprov.survey.facts import Facts

CONFIG = "/etc/haproxy/haproxy.cfg"
UNIT = "haproxy.service"
PROGRAM = "kube-endpoint"

_HEALTH = {
    "http": "    option httpchk GET /readyz\n    http-check expect status 200\n",
    "tls": "",
}


def resources(spec: EndpointSpec, host: Facts) -> list[Resource]:
    """The package, its configuration and its service, which may listen before the address is here.

    A new configuration restarts it: connections through this host are cut once, and clients
    connect anew.
    """
    family = "ipv6" if spec.ipv6 else "ipv4"
    return [
        *programs.program(PROGRAM, host),
        Package(name="haproxy"),
        *_selinux(host),
        Sysctl(key=f"net.{family}.ip_nonlocal_bind", value="1"),
        File(
            path=CONFIG,
            content=config(spec, host),
            validate=("haproxy", "-c", "-f", STAGED),
        ),
        Service(name=UNIT, enabled=True, running=True, restart_on=(CONFIG,)),
    ]


def _selinux(host: Facts) -> list[Resource]:
    """SELinux' policy of the RHEL family lets haproxy use web ports only, unless it is told."""
    if host.family != "redhat":
        return []
    program = programs.path(PROGRAM)
    return [
        Command(
            name="SELinux lets haproxy reach API servers",
            argv=(program, "selinux-allow", "haproxy_connect_any", "keepalived_connect_any"),
            unless=Succeeds(
                argv=(program, "selinux-allows", "haproxy_connect_any", "keepalived_connect_any")
            ),
            waits_for=("Package[haproxy]", f"File[{program}]"),
        )
    ]


def config(spec: EndpointSpec, host: Facts) -> str:
    """``haproxy.cfg``. /readyz, not /livez: an API server that ends or begins gets no new client.

    Idle connections live for hours: watches, logs that are followed, and shells have long pauses.
    No ``maxconn``: one that needs more files than its limit lets haproxy not start at all, and by
    itself it takes what the limit gives.
    """
    old = host.family == "redhat" and host.os_major == "8"
    log = "/dev/log local0 notice" if old else "stdout format raw local0 notice"
    loopback = "::1" if spec.ipv6 else "127.0.0.1"
    servers = "".join(
        f"    server {member.name} {_endpoint(spec.address_of(member), member.port)}\n"
        for member in spec.members
    )
    return f"""\
# Written by aiprov: the control plane's endpoint before all API servers.
global
    log {log}
    user haproxy
    group haproxy

defaults
    mode tcp
    log global
    option dontlognull
    option tcpka
    option redispatch
    retries 3
    timeout connect 5s
    timeout check 5s
    timeout client 4h
    timeout server 4h

frontend kubernetes
    bind {_endpoint(spec.address, spec.port)}
    bind {_endpoint(loopback, spec.port)}
    default_backend kubernetes

backend kubernetes
    balance leastconn
{_HEALTH[spec.health]}\
    default-server check check-ssl verify none inter 2s fall 3 rise 2
    default-server on-marked-down shutdown-sessions
{servers}"""


def _endpoint(address: str, port: int) -> str:
    """An address and a port; the last colon divides them, also in IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
