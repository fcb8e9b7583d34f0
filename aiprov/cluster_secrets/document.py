"""The file's content before it is encrypted: one YAML document. No error shows any of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from aiprov.cluster_secrets.certificates import faults
from aiprov.cluster_secrets.model import (
    AUTHORITIES,
    FORMAT_VERSION,
    CertificateAndKey,
    ClusterSecrets,
    KeyPair,
)
from aiprov.errors import InventoryError
from aiprov.resources import Secret

_HEAD = """\
# The secrets of one Kubernetes cluster, made by aiprov. Who has them has the cluster; without them
# no node can join it. Keep them vaulted, under version control or in a backup.
"""
_SHAPES = {
    "bootstrap_token": re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}"),
    "encryption_key": re.compile(r"[A-Za-z0-9+/]{43}="),
}


def text(secrets: ClusterSecrets) -> str:
    """The document. It holds all secrets in the open."""
    document = {
        "format_version": secrets.format_version,
        "created": secrets.created.isoformat(),
        **{
            name: {"certificate": pair.certificate, "key": pair.key.reveal()}
            for name, pair in secrets.authorities.items()
        },
        "service_account": {
            "public": secrets.service_account.public,
            "private": secrets.service_account.private.reveal(),
        },
        **{name: getattr(secrets, name).reveal() for name in _SHAPES},
    }
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=100)


def parse(content: str, path: str) -> ClusterSecrets:
    """The secrets that the document holds, proven to belong together.

    Raises ``InventoryError`` when it is damaged, or was written by a later aiprov.
    """
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        # The reason would quote the document.
        raise _damaged("it is not YAML", path) from None
    if not isinstance(document, dict):
        raise _damaged("it is not a mapping", path)
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        raise _damaged("format_version is not a number from 1 on", path)
    if version > FORMAT_VERSION:
        raise InventoryError(
            f"format_version {version} is later than the one that this aiprov knows "
            f"({FORMAT_VERSION})",
            hint="use the aiprov that wrote the file, or a later one",
            path=path,
        )
    try:
        secrets = _secrets(document)
    except _Wrong as wrong:
        raise _damaged(str(wrong), path) from None
    for fault in faults(secrets):
        raise _damaged(fault, path)
    return secrets


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """A value is missing or has the wrong shape; names it, never shows it."""


class _Dumper(yaml.SafeDumper):
    """PEM as a block, so that ``ansible-vault view`` shows what a person knows."""


def _block(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _block)


def _damaged(what: str, path: str) -> InventoryError:
    return InventoryError(
        f"the cluster secrets are damaged: {what}",
        hint="restore the file from version control or a backup; no node can join without it",
        path=path,
    )


def _secrets(document: Mapping[str, Any]) -> ClusterSecrets:
    pairs = {name: _pair(document, name) for name in AUTHORITIES}
    loose = {name: _loose(document, name) for name in _SHAPES}
    return ClusterSecrets(
        ca=pairs["ca"],
        front_proxy_ca=pairs["front_proxy_ca"],
        etcd_ca=pairs["etcd_ca"],
        service_account=KeyPair(
            public=_text(document, "service_account", "public"),
            private=Secret(_text(document, "service_account", "private")),
        ),
        bootstrap_token=loose["bootstrap_token"],
        encryption_key=loose["encryption_key"],
        created=_moment(document.get("created")),
    )


def _pair(document: Mapping[str, Any], name: str) -> CertificateAndKey:
    return CertificateAndKey(
        certificate=_text(document, name, "certificate"),
        key=Secret(_text(document, name, "key")),
    )


def _text(document: Mapping[str, Any], name: str, part: str) -> str:
    found = document.get(name)
    value = found.get(part) if isinstance(found, dict) else None
    if not isinstance(value, str):
        raise _Wrong(f"{name}.{part} is missing")
    return value


def _loose(document: Mapping[str, Any], name: str) -> Secret:
    value = document.get(name)
    if not isinstance(value, str) or not _SHAPES[name].fullmatch(value):
        raise _Wrong(f"{name} is missing or has the wrong form")
    return Secret(value)


def _moment(value: object) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise _Wrong("created is not a time") from None
    if moment.tzinfo is None:
        raise _Wrong("created has no time zone")
    return moment.astimezone(UTC)
