"""Who we say we are: keys, agent and password, in an order that leaves no try unused.

Servers end a connection after six failed tries, so what the inventory names comes first, an
agent's other keys and ssh's default files last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm

from aiprov.resources import Secret
from aiprov.survey.transport import failures
from aiprov.survey.transport.library import LOST, paramiko
from aiprov.survey.transport.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One try: a key or a password, and what to call it."""

    name: str
    key: paramiko.PKey | None = None
    password: Secret | None = None


def proofs(settings: Settings, password: Secret | None, problems: list[str]) -> Iterator[Proof]:
    """All tries for a host in their order. What cannot be used is noted in ``problems``."""
    if settings.identities_given:
        yield from _from_files(settings, problems)
    if password is not None:
        yield Proof(name="password", password=password)
    if settings.agent and not settings.identities_only:
        yield from _from_agent()
    if not settings.identities_given:
        yield from _from_files(settings, problems)


def authenticate(client: paramiko.Transport, settings: Settings, password: Secret | None) -> None:
    """Log in. Raises ``UnreachableError`` when nothing is accepted."""
    tried: list[str] = []
    problems: list[str] = []
    reason = "no key or password was accepted"
    for proof in proofs(settings, password, problems):
        tried.append(proof.name)
        try:
            if _accepted(client, settings.user, proof):
                return
            reason = "one proof was accepted, the host wants a second one"
        except paramiko.BadAuthenticationType as error:
            reason = f"the host takes only {', '.join(error.allowed_types)}"
        except paramiko.AuthenticationException:
            if not client.is_active():
                reason = "the host ended the connection (too many tries, or it is not answering)"
                break
        except LOST as error:
            reason = f"the host ended the connection ({error or type(error).__name__})"
            break
    raise failures.refused(settings, tried + problems, reason)


def _accepted(client: paramiko.Transport, user: str, proof: Proof) -> bool:
    """Whether a try was the last that was needed."""
    if proof.key is not None:
        return not client.auth_publickey(user, proof.key)
    assert proof.password is not None  # noqa: S101  # a proof is one of the two
    return not client.auth_password(user, proof.password.reveal())


def _from_files(settings: Settings, problems: list[str]) -> Iterator[Proof]:
    for path in settings.identities:
        try:
            yield Proof(name=f"key {path}", key=load(path, Path(path).stat().st_mtime_ns))
        except FileNotFoundError:
            if settings.identities_given:
                problems.append(f"key {path}: no such file")
        except PermissionError:
            problems.append(f"key {path}: may not be read")
        except paramiko.PasswordRequiredException:
            if settings.agent and settings.identities_only:
                yield from _from_agent(path)
            else:
                problems.append(f"key {path}: has a passphrase, so load it into an agent")
        except (paramiko.SSHException, ValueError, UnsupportedAlgorithm) as error:
            problems.append(f"key {path}: {error}")


@lru_cache(maxsize=32)
def load(path: str, mtime_ns: int) -> paramiko.PKey:
    """A private key with its certificate, if it has one. Loaded once for all hosts.

    Raises ``PasswordRequiredException`` for a key with a passphrase.
    """
    del mtime_ns  # part of the cache's key
    try:
        return paramiko.PKey.from_path(path)
    except TypeError as error:  # how cryptography says that a passphrase is needed
        raise paramiko.PasswordRequiredException(str(error)) from error


def _from_agent(path: str | None = None) -> Iterator[Proof]:
    """The agent's keys; with ``path``, only the one whose public half lies beside that file."""
    wanted: str | None = None
    if path is not None:
        public = Path(f"{path}.pub")
        wanted = public.read_text("utf-8", "replace").split()[1] if public.is_file() else ""
    agent = paramiko.Agent()
    try:
        for key in agent.get_keys():
            if wanted is None or key.get_base64() == wanted:
                yield Proof(name=f"agent key {key.comment or key.fingerprint}", key=key)
    finally:
        agent.close()
