"""Vault secrets, from where Ansible takes them: configuration, files, scripts, the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiprov.errors import InventoryError
from aiprov.resources import Secret

_PROMPTS = {
    "prompt": ["Vault password (%(vault_id)s): "],
    "prompt_ask_vault_pass": ["Vault password: "],
}


def unlock(
    loader: Any, *, vault_ids: Sequence[str], password_files: Sequence[str], ask: bool
) -> None:
    """Give Ansible's loader every secret it may use, in Ansible's order.

    Raises ``InventoryError`` when a password file cannot be read or is empty.
    """
    from ansible import constants
    from ansible.errors import AnsibleError

    files = [*password_files, *filter(None, [constants.DEFAULT_VAULT_PASSWORD_FILE])]
    identity = constants.DEFAULT_VAULT_IDENTITY
    wanted = [_split(item) for item in (*constants.DEFAULT_VAULT_IDENTITY_LIST, *vault_ids)]
    wanted += [(identity, str(file)) for file in files]
    if ask:
        wanted.append((identity, "prompt_ask_vault_pass"))
    secrets: list[tuple[str, Any]] = []
    for name, source in wanted:
        try:
            secrets.append((name or identity, _secret(source, name or identity, loader)))
        except AnsibleError as error:
            raise InventoryError(
                f"vault password from {source!r}: {error}",
                hint="check --vault-password-file, ANSIBLE_VAULT_PASSWORD_FILE and ansible.cfg",
            ) from error
        # One at a time: a password file may itself be encrypted with an earlier secret.
        loader.set_vault_secrets(list(secrets))
    _share(secrets)


def typed_password() -> Secret | None:
    """The vault password that a person typed into this process, for the programs that it calls."""
    return next((Secret(secret.bytes.decode()) for _, secret in _typed()), None)


def _typed() -> list[tuple[str, Any]]:
    from ansible.parsing.vault import PromptVaultSecret, VaultSecretsContext

    context = VaultSecretsContext.current(optional=True)
    secrets = context.secrets if context is not None else ()
    return [(name, secret) for name, secret in secrets if isinstance(secret, PromptVaultSecret)]


def _split(vault_id: str) -> tuple[str, str]:
    """``label@source``; without a label the whole is the source, as in Ansible."""
    name, at, source = vault_id.partition("@")
    return (name, source) if at else ("", vault_id)


def _secret(source: str, name: str, loader: Any) -> Any:
    from ansible.parsing.vault import (
        PromptVaultSecret,
        get_file_vault_secret,
    )

    if source in _PROMPTS:
        for known, typed in _typed():
            if known == name:
                return typed  # a verb that reads two inventories asks once
        secret = PromptVaultSecret(prompt_formats=_PROMPTS[source], vault_id=name)
    else:
        secret = get_file_vault_secret(filename=source, vault_id=name, loader=loader)
    secret.load()
    return secret


def _share(secrets: list[tuple[str, Any]]) -> None:
    """Inline ``!vault`` values are decrypted when they are used, from a process-wide context.

    It can be made once only, so later secrets join the earlier ones.
    """
    from ansible.parsing.vault import VaultSecretsContext

    context = VaultSecretsContext.current(optional=True)
    if context is None:
        VaultSecretsContext.initialize(VaultSecretsContext(list(secrets)))
    else:
        context.secrets.extend(secret for secret in secrets if secret not in context.secrets)
