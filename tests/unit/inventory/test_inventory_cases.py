"""Every file in ``cases/`` is an inventory and what has to come of it.

``files``     the inventory's files by path        ``sources``  what ``-i`` names (default: ``i``)
``limit``     host pattern                         ``options``  what the command line says
``errors``    all errors, as users read them       ``usage``    the usage error
``settings``  by host, role and name               ``sources_of``  where values come from
``connection``  by host, fields of the connection  ``hosts``    names left by the limit
``warnings``  all warnings of a check              ``graph``    the tree as text
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aiprov import inventory, settings
from aiprov.errors import InventoryError, InventoryErrors, UsageError
from aiprov.inventory import connections
from aiprov.inventory.graph import graph, graph_text
from aiprov.resources import Secret
from aiprov.settings.check import check
from aiprov.settings.show import show

CASES = sorted((Path(__file__).parent / "cases").glob("*.yml"))


def _write(files: dict[str, str], root: Path) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)


def _load(case: dict[str, Any]) -> inventory.Inventory:
    options = inventory.Options(**case.get("options", {}))
    return inventory.load(case.get("sources", ["i"]), limit=case.get("limit"), options=options)


def _errors(case: dict[str, Any]) -> list[str]:
    try:
        settings.resolve_all(_load(case))
    except InventoryErrors as error:
        return [f"{e}; {e.hint}" if e.hint else str(e) for e in error.errors]
    except InventoryError as error:
        return [f"{error}; {error.hint}" if error.hint else str(error)]
    return []


@pytest.mark.usefixtures("toy_roles")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = yaml.safe_load(path.read_text().replace("$PWD", str(tmp_path)))
    _write(case["files"], tmp_path)
    monkeypatch.chdir(tmp_path)
    # Not what an ansible.cfg says where the tests are started.
    monkeypatch.setattr(connections, "configured", lambda option: None)
    if "usage" in case:
        with pytest.raises(UsageError) as caught:
            _load(case)
        assert f"{caught.value}; {caught.value.hint}" == case["usage"]
        return
    assert _errors(case) == case.get("errors", [])
    if "errors" in case:
        report = check(lambda: _load(case))
        assert [str(e) for e in report.errors] == [e.partition("; ")[0] for e in case["errors"]]
        return
    _outcome(case)


def _outcome(case: dict[str, Any]) -> None:
    found = _load(case)
    document = show(found)["hosts"]
    for host, by_role in case.get("settings", {}).items():
        for slug, wanted in by_role.items():
            shown = document[host]["settings"][slug]
            assert {name: shown[name]["value"] for name in wanted} == wanted
    for host, wanted in case.get("sources_of", {}).items():
        shown = {n: e for role in document[host]["settings"].values() for n, e in role.items()}
        assert {name: shown[name]["source"] for name in wanted} == wanted
    for host in found.hosts:
        for name, wanted in case.get("connection", {}).get(host.name, {}).items():
            value = getattr(host.connection, name)
            value = list(value) if isinstance(value, tuple) else value
            assert (value.reveal() if isinstance(value, Secret) else value) == wanted, name
    if "hosts" in case:
        assert [host.name for host in found.hosts] == case["hosts"]
    if "warnings" in case:
        assert list(check(lambda: _load(case)).warnings) == case["warnings"]
    if "graph" in case:
        assert graph_text(graph(found)) == case["graph"].rstrip("\n")
