"""Ansible's own loader, and the little that is private to it.

Importing Ansible takes a quarter of a second, so it happens inside these functions. Its warnings
are captured, never printed. Collections cost 70 ms more and few inventories need them: they are
switched on only where something could not be done without.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiprov.errors import InventoryError, InventoryErrors, UsageError
from aiprov.inventory import vault
from aiprov.inventory.variables import Location, Omitted, Template, Variables, origin, relative

T = TypeVar("T")

# "Origin: /path:3:5", the first line of what Ansible shows of a source.
_ORIGIN = re.compile(r"Origin: (?P<path>/.*?)(?::(?P<line>\d+)(?::\d+)?)?(?:\n|$)")
_NOT_ITS_KIND = re.compile("no root 'plugin' key found|^Plugin configuration YAML file")
_NOT_PARSED = re.compile(r"^Unable to parse (?P<source>.*) as an inventory source$")
_FACTS = re.compile(r"'ansible_[a-z0-9_]+' is undefined")
_FACTS_HINT = "the inventory is read before any host is: facts are not known here"


@dataclass(kw_only=True)
class Loaded:
    """Ansible's objects for one inventory, and what it warned of."""

    loader: Any
    manager: Any
    variables: Any
    warnings: list[str] = field(default_factory=list)

    def host_variables(self, host: Any) -> Variables:
        """The variables of one host, unread as yet."""
        from ansible.errors import AnsibleError

        def read() -> Mapping[str, Any]:
            try:
                return _quietly(lambda: self.variables.get_vars(host=host), self.warnings)
            except AnsibleError as error:
                raise _inventory_error(error) from error

        def layers() -> Iterator[Mapping[str, Any]]:
            return self._layers(host)

        return Variables(read, _Templar(self, read), layers)

    def _layers(self, host: Any) -> Iterator[Mapping[str, Any]]:
        """What Ansible merges for a host, strongest first (its default precedence)."""
        from ansible.inventory.helpers import sort_groups
        from ansible.vars.plugins import get_vars_from_inventory_sources

        def files(entity: Any) -> Mapping[str, Any]:
            sources = self.manager._sources
            found: Mapping[str, Any] = get_vars_from_inventory_sources(
                self.loader, sources, [entity], "task"
            )
            return found

        groups = list(reversed(sort_groups(host.get_groups())))
        yield files(host)
        yield host.vars
        yield from (files(group) for group in groups)
        yield from (group.vars for group in groups)


class _Templar:
    """Ansible's templating for one host, made when the first template is met."""

    def __init__(self, loaded: Loaded, read: Callable[[], Mapping[str, Any]]) -> None:
        self._loaded = loaded
        self._read = read
        self._engine: Any = None

    def __call__(self, value: Any) -> Any:
        return located(lambda raw: with_collections(lambda: self._template(raw)))(value)

    def _template(self, value: Any) -> Any:
        if self._engine is None:
            from ansible.template import Templar

            self._engine = Templar(loader=self._loaded.loader, variables=dict(self._read()))
        return _quietly(lambda: self._engine.template(value), self._loaded.warnings)


def located(template: Callable[[Any], Any]) -> Template:
    """Ansible's templating with aiprov's errors. ``Variables`` adds the place."""
    from ansible.errors import AnsibleError, AnsibleValueOmittedError

    def resolve(value: Any) -> Any:
        try:
            return template(value)
        except AnsibleValueOmittedError as omitted:
            raise Omitted from omitted
        except AnsibleError as error:
            message = str(error).partition("\n")[0]
            # Not ``str``: of a vaulted value that is the plaintext, and decrypting fails here too.
            hint = _FACTS_HINT if "ansible_facts" in repr(value) else _hint(message)
            raise InventoryError(message, hint=hint) from error

    return resolve


def _hint(message: str) -> str | None:
    if _FACTS.search(message):
        return _FACTS_HINT
    if "vault" in message.lower() or "decrypt" in message.lower():
        return "give --vault-password-file, --ask-vault-pass or ANSIBLE_VAULT_PASSWORD_FILE"
    return None


def read(
    sources: Sequence[str],
    *,
    vault_ids: Sequence[str] = (),
    vault_password_files: Sequence[str] = (),
    ask_vault: bool = False,
) -> Loaded:
    """Let Ansible read all sources. Raises ``InventoryErrors`` for all that it could not read."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.utils.path import unfrackpath

    loader = DataLoader()
    warnings: list[str] = []
    _quietly(
        lambda: vault.unlock(
            loader, vault_ids=vault_ids, password_files=vault_password_files, ask=ask_vault
        ),
        warnings,
    )
    # Ansible keeps variables by the path of their source: it has to be an absolute one.
    paths = [s if "," in s else str(unfrackpath(s, follow=False)) for s in sources]
    found = with_collections(lambda: _parse(loader, paths))
    found.warnings[:0] = warnings
    return found


def default_sources() -> list[str]:
    """What Ansible reads when no ``-i`` is given: its configuration, or ``/etc/ansible/hosts``."""
    from ansible import constants

    return list(constants.DEFAULT_HOST_LIST)


def select(loaded: Loaded, limit: str | None) -> list[Any]:
    """Ansible's hosts that match the pattern. Raises ``UsageError`` for one that means nothing."""
    from ansible.errors import AnsibleError

    def matching() -> list[Any]:
        loaded.manager.subset(limit)
        return list(loaded.manager.get_hosts())

    try:
        return _quietly(matching, loaded.warnings)
    except (AnsibleError, IndexError, re.error) as error:
        # Ansible does not check patterns: a lone "&" is an IndexError there.
        raise UsageError(f"--limit {limit!r} is not a pattern of hosts: {error}") from error


def with_collections(act: Callable[[], T]) -> T:
    """Act; where that fails, switch Ansible's collections on and act once more."""
    from ansible.errors import AnsibleError
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if AnsibleCollectionConfig.collection_finder is not None:
        return act()
    try:
        return act()
    except (AnsibleError, InventoryErrors):
        init_plugin_loader()
    # Not inside the ``except``: Ansible would tell the first failure as a cause of the second.
    return act()


def _parse(loader: Any, sources: list[str]) -> Loaded:
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.vars.hostvars import HostVars
    from ansible.vars.manager import VariableManager

    events: list[Any] = []
    try:
        manager = _captured(lambda: InventoryManager(loader=loader, sources=sources), events)
    except AnsibleError as error:
        raise InventoryErrors([_inventory_error(error)]) from error
    loaded = Loaded(loader=loader, manager=manager, variables=VariableManager(loader, manager))
    # As for ``ansible`` itself: variables beside the inventory count, those in the directory where
    # the command happens to be started do not.
    loaded.variables.safe_basedir = False
    HostVars(manager, loaded.variables, loader)  # makes ``hostvars`` known to templates
    errors = list(_failures(events))
    if errors:
        raise InventoryErrors(errors)
    loaded.warnings.extend(event.msg for event in events)
    return loaded


def _quietly(act: Callable[[], T], warnings: list[str]) -> T:
    """Act; what Ansible would print as warnings goes to the list, each once."""
    events: list[Any] = []
    result = _captured(act, events)
    warnings.extend(event.msg for event in events if event.msg not in warnings)
    return result


def _captured(act: Callable[[], T], events: list[Any]) -> T:
    from ansible._internal._display_utils import DeferredWarningContext

    with DeferredWarningContext(variables={}) as context:
        try:
            return act()
        finally:
            events.extend(warning.event for warning in context.get_warnings())


def _failures(events: list[Any]) -> Iterator[InventoryError]:
    """Ansible tries each plugin on a source and warns; a source that none could read is an error.

    Of the attempts, the likeliest that says more than "not my kind of file" is told.
    """
    attempts: list[Any] = []
    for event in events:
        if event.msg.startswith("Failed to parse inventory with"):
            attempts.append(event)
        elif match := _NOT_PARSED.match(event.msg):
            attempts.sort(key=lambda attempt: _rank(attempt.msg, match["source"]))
            chains = [list(_event_chain(attempt))[1:] for attempt in attempts]
            telling = [c for c in chains if not any(_NOT_ITS_KIND.search(said) for said, _ in c)]
            yield _fault(telling[0] if telling else [], match["source"])
            attempts = []


def _rank(attempt: str, source: str) -> int:
    """How likely the source was meant for the plugin that tried it: 0 is likeliest."""
    likely = ("auto", "yaml") if source.endswith((".yml", ".yaml", ".json")) else ("script", "ini")
    return next((rank for rank, name in enumerate(likely) if f"'{name}'" in attempt), len(likely))


def _fault(chain: Sequence[tuple[str, Location | None]], source: str | None) -> InventoryError:
    """One error from a chain of causes: the deepest says what, the most exact says where."""
    places = [place for _, place in chain if place is not None]
    where = next((place for place in places if place.line), places[0] if places else None)
    path = where.path if where else relative(source) if source else None
    if not chain:
        return InventoryError(_why_unread(source), path=path)
    said = [line.strip() for line in chain[-1][0].splitlines()]
    text = " ".join(line for line in said if line and not line.startswith("in "))
    return InventoryError(text, path=path, line=where.line if where else None)


def _why_unread(source: str | None) -> str:
    if source is not None and not Path(source).exists():
        return "no such file or directory"
    if source is not None and not os.access(source, os.R_OK):
        return "permission denied"
    return "not an inventory that Ansible can read"


def _event_chain(event: Any) -> Iterator[tuple[str, Location | None]]:
    while event is not None:
        match = _ORIGIN.match(event.formatted_source_context or "")
        line = int(match["line"]) if match and match["line"] else None
        yield event.msg, Location(path=relative(match["path"]), line=line) if match else None
        event = event.chain.event if event.chain else None


def _exception_chain(error: BaseException | None) -> Iterator[tuple[str, Location | None]]:
    while error is not None:
        message = getattr(error, "_original_message", None) or str(error)
        yield message, origin(getattr(error, "obj", None))
        # Vars plugins raise anew without naming the cause; the context still has it.
        error = error.__cause__ or error.__context__


def _inventory_error(error: BaseException) -> InventoryError:
    fault = _fault(list(_exception_chain(error)), None)
    return InventoryError(fault.message, hint=_hint(str(error)), path=fault.path, line=fault.line)
