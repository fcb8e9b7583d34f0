"""Hosts that are folders and processes of this machine, validated as an inventory's hosts are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiprov import app
from aiprov.checks import campaign as planning
from aiprov.checks.campaign import Campaign
from aiprov.checks.validation import Validation
from aiprov.connection import Connection
from aiprov.converge import Event
from aiprov.payload.journal import read
from aiprov.validation import course, run
from aiprov.validation.run import Done, Wish
from tests.processes.validation.local_host import LocalHost, LocalRemote

Shown = Callable[[Event], None]


class Site:
    """A folder to run aiprov in, with hosts of an inventory. ``wish``: what is always asked for."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], **wish: Any) -> None:
        self.folder = folder
        self.hosts: dict[str, LocalHost] = {}
        self.settings = dict(settings)
        self.root = folder / "campaigns"
        self.wish = {"root": self.root, **wish}

    def host(self, name: str, *, gpus: bool = True) -> LocalHost:
        self.hosts[name] = LocalHost(self.folder, name, gpus=gpus)
        return self.hosts[name]

    @property
    def request(self) -> app.Request:
        inventory = self.folder / "hosts.json"
        hosts = {name: {"ansible_connection": "local"} for name in self.hosts}
        own = {"aiprov_roles": ["gpu_validation"], **self.settings}
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": own}}))
        return app.Request(sources=(str(inventory),))

    def validate(self, show: Shown = lambda _event: None, **wish: Any) -> Done:
        return run.validate(self.request, Wish(**{**self.wish, **wish}), show, self.way)

    def resume(self, show: Shown = lambda _event: None, **request: Any) -> Done:
        asked = replace(app.Request(), **request)
        return run.resume(asked, Wish(root=self.root), show, self.way)

    def way(self, connection: Connection) -> LocalRemote:
        return LocalRemote(self.hosts[connection.name])

    def journal(self, done: Done, host: str, stage: str = "first") -> list[dict[str, Any]]:
        past = read((done.folder / "hosts" / host / f"{stage}.jsonl").read_bytes())
        assert past.problem == ""
        return past.records


def sited(
    monkeypatch: pytest.MonkeyPatch, site: Site, plan: Callable[..., Campaign]
) -> Iterator[Site]:
    """A site whose campaigns are ``plan``'s; its hosts' payloads are ended afterwards."""
    monkeypatch.setattr(planning, "campaign", plan)
    monkeypatch.setenv("AIPROV_HISTORY", str(site.folder / "history.sqlite3"))
    monkeypatch.setattr(course, "POLL_S", 0.05)
    monkeypatch.setattr(course, "PATIENCE_S", 1.0)
    yield site
    for host in site.hosts.values():
        host.lost = False
        if host.folder.exists():
            LocalRemote(host).stop()


def why(found: Validation) -> str:
    """Why hosts and checks are as they are: what a failing test shows."""
    told = [f"{host.host}: {host.status}: {host.message}" for host in found.hosts]
    return "\n".join([*told, *(text for check in found.checks for text in check.why)])
