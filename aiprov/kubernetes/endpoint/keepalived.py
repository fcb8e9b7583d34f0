"""keepalived keeps the virtual address on one control plane whose haproxy works.

Keywords: keepalived.conf(5) of 2.2 (read 2026-11-21).
"""

from __future__ import annotations

from aiprov import programs
from aiprov.kubernetes.endpoint.haproxy import PROGRAM
from aiprov.kubernetes.endpoint.spec import EndpointSpec, Member
from aiprov.resources import STAGED, File, Package, Resource, Service
from aiprov.survey.facts import Facts

CONFIG = "/etc/keepalived/keepalived.conf"
UNIT = "keepalived.service"

_HIGHEST = 200
"""The priority of the inventory's first control plane; each further one has one less."""

_PATIENCE_S = 10
"""A dead haproxy refuses at once: whoever takes longer is a host under load, not one without it."""


def resources(spec: EndpointSpec, me: Member, interface: str, host: Facts) -> list[Resource]:
    """The package, its configuration and its service."""
    return [
        Package(name="keepalived"),
        File(
            path=CONFIG,
            content=config(spec, me, interface, host),
            validate=("keepalived", "-t", "-f", STAGED),
        ),
        Service(name=UNIT, enabled=True, running=True, restart_on=(CONFIG,)),
    ]


def config(spec: EndpointSpec, me: Member, interface: str, host: Facts) -> str:
    """``keepalived.conf``: unicast, and the address stays where it is when a better host returns.

    VRRP version 3 has no passwords (RFC 5798 took them out, for they protected nothing): adverts
    are taken from the peers' addresses alone.
    """
    loopback = "::1" if spec.ipv6 else "127.0.0.1"
    check = f"{programs.interpreter(host)} {programs.path(PROGRAM)} alive {loopback} {spec.port}"
    peers = "".join(
        f"        {spec.address_of(member)}\n" for member in spec.members if member != me
    )
    unicast = f"    unicast_peer {{\n{peers}    }}\n" if peers else ""
    return f"""\
# Written by aiprov: the control plane's virtual address.
global_defs {{
    router_id {me.name}
    vrrp_version 3
    vrrp_check_unicast_src
    enable_script_security
    script_user root
}}

vrrp_script haproxy {{
    script "{check}"
    interval 2
    timeout {_PATIENCE_S}
    fall 2
    rise 2
}}

vrrp_instance kubernetes {{
    state BACKUP
    nopreempt
    interface {interface}
    virtual_router_id {spec.router_id}
    priority {_HIGHEST - spec.members.index(me)}
    advert_int 1
    unicast_src_ip {spec.address_of(me)}
{unicast}\
    virtual_ipaddress {{
        {spec.address}/{128 if spec.ipv6 else 32} dev {interface}
    }}
    track_script {{
        haproxy
    }}
}}
"""
