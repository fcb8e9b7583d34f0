"""The group quarantine: a file of aiprov's own, which Ansible reads as any inventory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiprov import inventory
from aiprov.actions.acting import Context, act, held, release
from aiprov.actions.deciding import decide
from aiprov.actions.model import Limit, Policy
from aiprov.actions.quarantine import Quarantine, place
from aiprov.checks.validation import Action
from aiprov.errors import InventoryError, UsageError
from aiprov.settings.check import check as check_settings
from tests.unit.actions.validations import check, gpu, validation

SINCE = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
HOSTS = "all:\n  hosts:\n    a:\n    b:\n    c:\n"
POLICY = Policy(action="quarantine", limit=Limit(share=1.0))
BAD = validation(a="failed", b="ok", c="ok")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An inventory folder with a file of the user's."""
    made = tmp_path / "prod"
    made.mkdir()
    (made / "hosts.yml").write_text(HOSTS)
    return made


def context(*sources: Path | str) -> Context:
    return Context(inventory=inventory.load([str(one) for one in sources]), clock=lambda: SINCE)


def names(source: Path, limit: str) -> list[str]:
    return [host.name for host in inventory.load([str(source)], limit=limit).hosts]


def ansible(source: Path) -> dict[str, Any]:
    """What Ansible itself reads of an inventory."""
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run(
        [program, "-i", source, "--list"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_failed_host_is_left_out_by_the_group(folder: Path):
    done = act(BAD, POLICY, context(folder))
    assert [(one.host, one.kind, one.done) for one in done] == [("a", "quarantine", True)]
    assert names(folder, "!quarantine") == ["b", "c"]
    assert names(folder, "quarantine") == ["a"]
    assert (folder / "hosts.yml").read_text() == HOSTS
    assert sorted(path.name for path in folder.iterdir()) == ["hosts.yml", "quarantine.yml"]


def test_ansible_itself_reads_the_group_and_its_variables(folder: Path):
    act(BAD, POLICY, context(folder))
    read = ansible(folder)
    assert read["quarantine"]["hosts"] == ["a"]
    about = read["_meta"]["hostvars"]["a"]
    assert about["aiprov_quarantine_since"] == "2026-11-21T20:00:00+00:00"
    assert about["aiprov_quarantine_reason"]["__ansible_unsafe"].startswith("GPU 1: products: 3")


def test_words_of_a_host_are_never_a_template(folder: Path):
    said = "{{ lookup('pipe', 'touch /tmp/x') }} \"quoted\": # {% raw"
    found = validation(a="ok")
    checks = (check(gpu("a"), 1, name=said),)
    found = type(found)(**{**vars(found), "checks": checks})
    act(found, POLICY, context(folder))
    (host,) = inventory.load([str(folder)], limit="quarantine").hosts
    assert said in host.variables.value("aiprov_quarantine_reason")
    assert said in held("quarantine", context(folder))["a"].reason


def test_settings_of_a_quarantined_host_are_well(folder: Path):
    act(BAD, POLICY, context(folder))
    report = check_settings(lambda: inventory.load([str(folder)]))
    assert report.ok, report.text()


def test_twice_is_once(folder: Path):
    act(BAD, POLICY, context(folder))
    before = (folder / "quarantine.yml").read_bytes()
    (again,) = act(BAD, POLICY, context(folder))
    assert again.done
    assert "since 2026-11-21" in again.message
    assert (folder / "quarantine.yml").read_bytes() == before


def test_another_finding_renews_the_reason_and_keeps_the_time(folder: Path):
    act(BAD, POLICY, context(folder))
    later = Context(inventory=inventory.load([str(folder)]), clock=lambda: datetime.now(UTC))
    found = replace(BAD, checks=(check(gpu("a", 5), 7),))
    act(found, POLICY, later)
    one = held("quarantine", later)["a"]
    assert one.reason.startswith("GPU 5: products: 7")
    assert one.since == "2026-11-21T20:00:00+00:00"


def test_release_takes_out_one_and_the_file_goes_with_the_last(folder: Path):
    both = validation(a="failed", b="failed", c="ok")
    act(both, POLICY, context(folder))
    (done,) = release("quarantine", ["a"], context(folder))
    assert done.done
    assert names(folder, "quarantine") == ["b"]
    assert [one.host for one in release("quarantine", None, context(folder))] == ["b"]
    assert [path.name for path in folder.iterdir()] == ["hosts.yml"]


def test_a_host_that_is_ok_again_is_told_and_stays_out(folder: Path):
    act(BAD, POLICY, context(folder))
    (done,) = act(validation(a="ok", b="ok"), POLICY, context(folder))
    assert (done.host, done.kind) == ("a", "report")
    assert "aiprov quarantine release a --action quarantine" in done.message
    assert names(folder, "quarantine") == ["a"]


def test_release_of_what_is_not_held_names_those_that_are(folder: Path):
    act(BAD, POLICY, context(folder))
    with pytest.raises(UsageError, match="b: not taken out") as caught:
        release("quarantine", ["a", "b"], context(folder))
    assert "held are: a" in str(caught.value.hint)
    assert names(folder, "quarantine") == ["a"], "nothing was undone"


def test_a_host_that_the_inventory_lost_is_told(folder: Path):
    act(BAD, POLICY, context(folder))
    kept = Quarantine(folder / "quarantine.yml", known={"b", "c"})
    assert kept.held()["a"].note == "not in the inventory that was given"


def test_what_was_put_there_by_hand_stays_as_it_is(folder: Path):
    act(validation(b="failed"), POLICY, context(folder))
    path = folder / "quarantine.yml"
    path.write_text(path.read_text() + "    a: {note: mine}\n")
    did, _ = act(BAD, POLICY, context(folder))
    assert "by hand" in did.message
    (gave,) = release("quarantine", ["a"], context(folder))
    assert (gave.done, "by hand" in gave.message) == (False, True)
    release("quarantine", ["b"], context(folder))
    (host,) = inventory.load([str(folder)], limit="quarantine").hosts
    assert (host.name, host.variables.value("note")) == ("a", "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quarantine: {hosts: {a: }}\n", "was not written by aiprov"),
        ("HEAD\nquarantine: [", "is damaged"),
        ("HEAD\nother: {}\n", "is damaged"),
    ],
)
def test_a_file_that_is_not_ours_is_not_touched(tmp_path: Path, text: str, said: str):
    from aiprov.actions.quarantine import HEAD

    path = tmp_path / "quarantine.yml"
    path.write_text(text.replace("HEAD\n", HEAD))
    before = path.read_bytes()
    (decision,) = decide(BAD, POLICY)
    with pytest.raises(InventoryError, match=said) as caught:
        Quarantine(path).take(decision, "now", "c1")
    assert "--quarantine-file" in str(caught.value.hint)
    assert path.read_bytes() == before


def test_beside_a_hosts_file_it_says_how_ansible_reads_it(folder: Path):
    hosts = folder / "hosts.yml"
    (did,) = act(BAD, POLICY, context(hosts))
    assert (folder / "quarantine.yml").exists()
    assert f"-i {folder / 'quarantine.yml'}" in did.message
    both = inventory.load([str(hosts), str(folder / "quarantine.yml")], limit="!quarantine")
    assert [host.name for host in both.hosts] == ["b", "c"]
    (again,) = act(BAD, POLICY, context(hosts, folder / "quarantine.yml"))
    assert "-i " not in again.message


def test_an_inventory_without_a_file_needs_one(tmp_path: Path):
    (done,) = act(BAD, POLICY, context("a,b,c"))
    assert not done.done
    assert "--quarantine-file FILE" in done.message
    assert "GPU 1" in done.message, "the finding is told all the same"
    path = tmp_path / "bad.yml"
    given = Context(inventory=inventory.load(["a,b,c"]), quarantine_file=path)
    assert act(BAD, POLICY, given)[0].done
    assert path.exists()


def test_the_source_that_has_the_file_is_its_place(folder: Path, tmp_path: Path):
    other = tmp_path / "other.yml"
    other.write_text(HOSTS)
    assert place([str(other), str(folder)]) == tmp_path / "quarantine.yml"
    (folder / "quarantine.yml").write_text("")
    assert place([str(other), str(folder)]) == folder / "quarantine.yml"
    assert place(["a,b", str(folder)]) == folder / "quarantine.yml"


def test_a_folder_that_cannot_be_written_is_told_and_hides_no_verdict(folder: Path):
    (folder / "quarantine.yml").mkdir()
    done = act(BAD, POLICY, Context(inventory=inventory.load([str(folder / "hosts.yml")])))
    assert [(one.host, one.done) for one in done] == [("a", False)]
    assert "quarantine.yml" in done[0].message
    assert "Is a directory" in done[0].message


def test_many_at_once_lose_nobody(tmp_path: Path):
    path = tmp_path / "quarantine.yml"
    decisions = [decide(validation(**{f"h{n}": "failed"}), POLICY)[0] for n in range(12)]
    threads = [
        threading.Thread(target=Quarantine(path).take, args=(one, "now", "c")) for one in decisions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Quarantine(path).held()) == 12


def test_a_report_touches_nothing(folder: Path):
    done = act(validation(a="failed", b="unreachable"), Policy(), context(folder))
    assert [path.name for path in folder.iterdir()] == ["hosts.yml"]
    assert [(one.host, one.kind, one.done) for one in done] == [
        ("a", "report", True), ("b", "report", True),
    ]  # fmt: skip
    assert "contact support" in done[0].message
    assert isinstance(done[0], Action)
