"""One vaulted file for a cluster's secrets, as ``ansible-vault`` writes and reads it.

``save`` makes the file and never replaces one: what is lost with it is the cluster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiprov.cluster_secrets import document
from aiprov.cluster_secrets.certificates import validity
from aiprov.cluster_secrets.loaded import LoadedSecrets
from aiprov.cluster_secrets.model import ClusterSecrets
from aiprov.errors import InventoryError
from aiprov.staged import beside

NAME = "cluster-secrets.yml"

VaultSecrets = Sequence[tuple[str, Any]]
"""Vault ids with ansible-core's ``VaultSecret``, as its ``VaultLib`` takes them."""

_GIVE_ONE = "give --vault-password-file PATH, --ask-vault-pass or ANSIBLE_VAULT_PASSWORD_FILE"


def place(sources: Sequence[str]) -> Path:
    """Where the cluster's secrets of this inventory are: ``group_vars/cluster-secrets.yml``.

    ``group_vars`` is that beside the hosts file, or in the folder that is given as inventory, so
    both name the same file. In the folder itself Ansible would take the file for an inventory
    source: its keys for groups, or an error without the vault's password. In ``group_vars`` it
    reads only what is named as a group, which a name with a hyphen and this one are not.
    The first source is taken, unless one of the others has the file already.
    Raises ``InventoryError`` when no source is a file or folder, or several have it.
    """
    folders = [Path(source) for source in sources if "," not in source and Path(source).exists()]
    places = [(path if path.is_dir() else path.parent) / "group_vars" / NAME for path in folders]
    places = list(dict.fromkeys(places))
    there = [path for path in places if path.exists()]
    if len(there) > 1:
        raise InventoryError(
            f"cluster secrets in several inventories: {', '.join(map(str, there))}",
            hint="give one cluster's inventory with -i",
        )
    if not places:
        raise InventoryError(
            "there is no place for the cluster's secrets: no inventory source is a file or folder",
            hint="give an inventory file or folder with -i",
        )
    return (there or places)[0]


def vault_secrets() -> VaultSecrets:
    """The vault passwords with which the inventory was read; each once, none is possible."""
    from ansible.parsing.vault import VaultSecretsContext

    context = VaultSecretsContext.current(optional=True)
    return _once(context.secrets if context is not None else ())


def loaded(sources: Sequence[str], now: datetime) -> LoadedSecrets:
    """The secrets of this inventory, for a run that began at ``now``.

    Raises ``InventoryError`` as ``place`` and ``load`` do.
    """
    return LoadedSecrets(secrets=load(place(sources), vault_secrets(), now), now=now)


def load(path: Path, vault: VaultSecrets, now: datetime) -> ClusterSecrets:
    """The secrets in the file, proven to belong together and to be valid at ``now``.

    Raises ``InventoryError`` when there is no file or no password, when none of the passwords
    opens it, when it is not encrypted or damaged, when a later aiprov wrote it, and when an
    authority has expired.
    """
    secrets = _opened(path, vault)
    _refuse_expired(secrets, path, now)
    return secrets


def save(
    path: Path, secrets: ClusterSecrets, vault: VaultSecrets, *, identity: str | None = None
) -> None:
    """Write the file: encrypted, mode 0600, whole or not at all, and only where there is none.

    ``identity`` is the vault id to encrypt with; without it Ansible's ``vault_encrypt_identity``,
    or the only one there is. Raises ``InventoryError`` when there is a file already (of two that
    write at the same time, one gets this), when there is no password or no telling which, and when
    the file cannot be written.
    """
    content = _encrypted(secrets, _chosen(path, vault, identity))
    try:
        path.parent.mkdir(exist_ok=True)
        with _beside(path, content) as staged:
            os.link(staged, path)
    except FileExistsError:
        raise InventoryError(
            "there are cluster secrets already, and they are never overwritten",
            hint="they are those of a cluster; move the file away only when that is gone",
            path=str(path),
        ) from None
    except OSError as error:
        raise _unwritten(path, error) from error


# ---------------------------------------------------------------- reading


def _opened(path: Path, vault: VaultSecrets) -> ClusterSecrets:
    from ansible.errors import AnsibleError
    from ansible.parsing.vault import AnsibleVaultFormatError, VaultLib, is_encrypted

    content = _read(path)
    if not is_encrypted(content):
        raise InventoryError(
            "the cluster secrets are not encrypted",
            hint=f"ansible-vault encrypt {path}",
            path=str(path),
        )
    if not vault:
        raise InventoryError(
            "the cluster secrets are encrypted, and there is no vault password",
            hint=_GIVE_ONE,
            path=str(path),
        )
    try:
        text = bytes(VaultLib(list(vault)).decrypt(content)).decode()
    except (AnsibleVaultFormatError, UnicodeDecodeError):
        raise InventoryError(
            "the cluster secrets are damaged: this is not what ansible-vault writes",
            hint="restore the file from version control or a backup",
            path=str(path),
        ) from None
    except AnsibleError:
        raise InventoryError(
            "no vault password opens the cluster secrets: it is another one's, or they are damaged",
            hint="give the password that they were made with; if that is what was given, restore "
            "the file from version control or a backup",
            path=str(path),
        ) from None
    return document.parse(text, str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InventoryError(
            "there are no cluster secrets",
            hint="make them: aiprov cluster secrets -i INVENTORY --vault-password-file FILE; for a "
            "cluster that is there already, restore the file from version control or a backup",
            path=str(path),
        ) from None
    except OSError as error:
        raise InventoryError(
            f"the cluster secrets cannot be read: {error.strerror}",
            hint="look at owner and mode of the file",
            path=str(path),
        ) from error


def _refuse_expired(secrets: ClusterSecrets, path: Path, now: datetime) -> None:
    for name, authority in secrets.authorities.items():
        first, last = validity(authority)
        if now > last:
            raise InventoryError(
                f"{name} has expired on {last.astimezone(UTC):%Y-%m-%d}, and with it every "
                "certificate of the cluster",
                hint="replace the cluster's authorities by hand (kubernetes.io: manual rotation "
                "of CA certificates), or move the file away and build the cluster anew",
                path=str(path),
            )
        if now < first:
            raise InventoryError(
                f"{name} is valid only from {first.astimezone(UTC):%Y-%m-%d %H:%M} UTC on",
                hint="set the controller's clock",
                path=str(path),
            )


# ---------------------------------------------------------------- writing


def _chosen(path: Path, vault: VaultSecrets, identity: str | None) -> tuple[str, Any]:
    """The vault id and password to encrypt with, chosen as ``ansible-vault encrypt`` does."""
    from ansible import constants

    known = _once(vault)
    if not known:
        raise InventoryError(
            "there is no vault password, and cluster secrets are never written in the open",
            hint=_GIVE_ONE,
            path=str(path),
        )
    wanted = identity or constants.DEFAULT_VAULT_ENCRYPT_IDENTITY
    ids = ", ".join(dict.fromkeys(name for name, _ in known))
    if wanted:
        for name, secret in known:
            if name == wanted:
                return name, secret
        raise InventoryError(
            f"there is no password for vault id {wanted!r}, only for {ids}",
            hint=f"give --vault-password-file or vault_identity_list for {wanted}",
            path=str(path),
        )
    if len(known) > 1:
        raise InventoryError(
            f"several vault passwords could encrypt the cluster secrets: {ids}",
            hint="name one: vault_encrypt_identity in ansible.cfg, ANSIBLE_VAULT_ENCRYPT_IDENTITY",
            path=str(path),
        )
    return known[0]


def _once(vault: VaultSecrets) -> VaultSecrets:
    """Each id and password once: whoever reads two inventories gives the same ones twice."""
    return list({(name, secret.bytes): (name, secret) for name, secret in vault}.values())


def _encrypted(secrets: ClusterSecrets, using: tuple[str, Any]) -> bytes:
    from ansible.parsing.vault import VaultLib

    name, secret = using
    return bytes(VaultLib([using]).encrypt(document.text(secrets), secret=secret, vault_id=name))


@contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """The content in a file of its own; where it is put from there is on disk as well."""
    with beside(path, content) as staged:
        yield staged
        _flushed(path.parent)


def _flushed(folder: Path) -> None:
    """The folder's entries are on disk: a power cut does not take the new file away."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(path: Path, error: OSError) -> InventoryError:
    return InventoryError(
        f"the cluster secrets cannot be written: {error.strerror}",
        hint="look at owner, mode and file system of the folder (it must know hard links)",
        path=str(path),
    )
