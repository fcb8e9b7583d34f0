"""What the planner decides: order, stages, unknowns, restarts, and what is put back."""

from __future__ import annotations

from hashlib import sha256

import pytest

from aiprov.diff import wanted
from aiprov.engines.simulate import simulate
from aiprov.errors import HostError, UnsupportedError
from aiprov.plan import NEWEST, Desired, HostPlan
from aiprov.planner import plan
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    File,
    KernelModule,
    Merge,
    Package,
    PathExists,
    Reboot,
    Replaces,
    Resource,
    Secret,
    Service,
    Succeeds,
    Sysctl,
    UpToDate,
)
from aiprov.united import united

FRESH = {"PackageLists": {"age_s": 60}}
CONFIG = File(path="/etc/x.conf", content="new\n")
SERVICE = Service(name="x.service", enabled=True, running=True, restart_on=("/etc/x.conf",))
RUNNING = {
    "exists": True, "enabled": True, "running": True, "masked": False,
    "stale": [], "reload_needed": False,
}  # fmt: skip


def file_state(text: str, **more: object) -> dict[str, object]:
    digest = sha256(text.encode()).hexdigest()
    return {
        "type": "file", "mode": 0o644, "owner": "root", "group": "root",
        "sha256": digest, "content": text, **more,
    }  # fmt: skip


def planned(resources: list[Resource], state: dict, role: str = "r", **more) -> HostPlan:
    desired = [Desired(role=role, resource=resource) for resource in resources]
    return plan("h", desired, state, **more)


def addresses(result: HostPlan) -> list[str]:
    return [change.address for change in result.changes]


def test_nothing_to_do_is_an_empty_plan():
    result = planned([CONFIG], {"File[/etc/x.conf]": file_state("new\n")})
    assert result.empty
    assert result.unchanged == 1


def test_a_change_says_why():
    state = {"File[/etc/x.conf]": file_state("old\n", mode=0o600)}
    (change,) = planned([CONFIG], state).changes
    assert change.reason == "content differs, mode is 0600"


def test_a_service_restarts_once_last_and_can_be_put_back():
    state = {"File[/etc/x.conf]": file_state("old\n"), "Service[x.service]": RUNNING}
    other = Sysctl(key="net.ipv4.ip_forward", value="1")
    result = planned([CONFIG, SERVICE, other], state)
    assert addresses(result) == [
        "File[/etc/x.conf]",
        "Sysctl[net.ipv4.ip_forward]",
        "Service[x.service]",
        "Absent[/etc/x.conf.aiprov-previous]",
    ]
    restart = result.changes[2]
    assert result.changes[0].keep_previous
    assert restart.after["restart"] is True
    assert restart.reason == "restart: /etc/x.conf changed"
    (undo,) = restart.rollback
    assert isinstance(undo, Command)
    assert undo.argv == ("mv", "-f", "/etc/x.conf.aiprov-previous", "/etc/x.conf")


def test_a_file_that_was_not_there_is_put_back_by_removing_it():
    state = {"File[/etc/x.conf]": {"type": "absent"}, "Service[x.service]": RUNNING}
    result = planned([CONFIG, SERVICE], state)
    assert result.changes[1].rollback == (Absent(path="/etc/x.conf"),)
    assert not result.changes[0].keep_previous


def test_a_restart_that_was_missed_is_made_up_for():
    """Killed between writing the file and the restart: the file is as wanted, the service not."""
    state = {
        "File[/etc/x.conf]": file_state("new\n"),
        "File[/etc/x.conf.aiprov-previous]": file_state("old\n"),
        "Service[x.service]": {**RUNNING, "stale": ["/etc/x.conf"]},
    }
    result = planned([CONFIG, SERVICE], state)
    assert addresses(result) == ["Service[x.service]", "Absent[/etc/x.conf.aiprov-previous]"]
    assert result.changes[0].after["restart"] is True
    assert len(result.changes[0].rollback) == 1


def test_the_good_version_is_not_overwritten_by_a_second_attempt():
    state = {
        "File[/etc/x.conf]": file_state("broken\n"),
        "File[/etc/x.conf.aiprov-previous]": file_state("good\n"),
        "Service[x.service]": {**RUNNING, "running": False},
    }
    result = planned([CONFIG, SERVICE], state)
    assert not result.changes[0].keep_previous
    assert isinstance(result.changes[1].rollback[0], Command)


def test_two_roles_restart_one_service_for_files_of_both():
    mine = File(path="/etc/y.conf", content="y\n")
    desired = [
        Desired(role="a", resource=CONFIG),
        Desired(role="a", resource=SERVICE),
        Desired(role="b", resource=mine),
        Desired(
            role="b",
            resource=Service(
                name="x.service", enabled=True, running=True, restart_on=("/etc/y.conf",)
            ),
        ),
    ]
    state = {"File[/etc/x.conf]": file_state("new\n"), "Service[x.service]": RUNNING}
    result = plan("h", desired, state)
    assert addresses(result) == ["File[/etc/y.conf]", "Service[x.service]"]
    assert result.changes[1].after["restart"] is True


def test_roles_that_want_different_things_are_refused():
    desired = [
        Desired(role="a", resource=CONFIG),
        Desired(role="b", resource=File(path="/etc/x.conf", content="other\n")),
    ]
    with pytest.raises(HostError, match=r"File\[/etc/x.conf\] is wanted differently by roles a an"):
        plan("h", desired, {})


# ---------------------------------------------------------------- packages and stages


def test_a_package_gets_the_exact_version_that_is_on_offer():
    state = {**FRESH, "Package[x]": {"version": None, "candidates": ["2:1.5.2-1", "2:1.4.9-1"]}}
    (change,) = planned([Package(name="x", version="1.4")], state).changes
    assert change.after["version"] == "2:1.4.9-1"


def test_a_version_that_nobody_offers_is_refused_with_what_is_on_offer():
    state = {**FRESH, "Package[x]": {"version": None, "candidates": ["1.5-1"]}}
    with pytest.raises(HostError) as caught:
        planned([Package(name="x", version="9")], state)
    assert caught.value.hint == "on offer: 1.5-1"


def test_an_installed_version_that_does_needs_no_candidate():
    state = {**FRESH, "Package[x]": {"version": "1.4.9-1", "candidates": []}}
    assert planned([Package(name="x", version="1.4")], state).empty


def test_old_package_lists_are_refreshed_first_and_promise_no_version():
    state = {
        "PackageLists": {"age_s": None},
        "Package[x]": {"version": None, "candidates": []},
        "Package[y]": {"version": None, "candidates": ["1"]},
    }
    result = planned([Package(name="x"), Package(name="y")], state)
    assert addresses(result) == ["Command[refresh package lists]", "Package[x]", "Package[y]"]
    assert [change.after.get("version") for change in result.changes[1:]] == [NEWEST, NEWEST]


def test_without_package_lists_no_package_is_said_to_be_missing():
    gone = {"PackageLists": {"age_s": None}}
    absent = {"version": None, "hold": False, "candidates": []}
    state = {**gone, "Package[x]": absent, "Package[y]": absent, "Package[z]": absent}
    wanted = [Package(name="x"), Package(name="y"), Package(name="z", version="2")]
    result = planned(wanted, state)
    assert addresses(result) == ["Command[refresh package lists]", "Package[x]", "Package[y]"]
    assert [item.until for item in result.unknown] == ["package lists have been fetched"]


def test_old_package_lists_do_not_matter_when_nothing_is_installed():
    state = {"PackageLists": {"age_s": None}, "Package[x]": {"version": "1", "candidates": []}}
    assert planned([Package(name="x")], state).empty


def test_a_pinned_version_waits_for_its_repository():
    repository = AptRepository(name="r", uris=("http://a/",), suites=("s",))
    state = {**FRESH, "Package[x]": {"version": None, "candidates": ["1.0-1"]}}
    after = File(path="/etc/after", content="")
    result = planned([repository, Package(name="x", version="2"), after], state)
    assert addresses(result) == ["AptRepository[r]"]
    assert [item.address for item in result.unknown] == ["Package[x]", "File[/etc/after]"]
    assert result.unknown[0].until == "repository r has been listed"


def test_what_waits_in_a_role_waits_in_those_that_require_it_too():
    repository = AptRepository(name="r", uris=("http://a/",), suites=("s",))
    desired = [
        Desired(role="low", resource=repository),
        Desired(role="low", resource=Package(name="x", version="2")),
        Desired(role="high", resource=CONFIG),
        Desired(role="apart", resource=File(path="/etc/apart", content="")),
    ]
    result = plan("h", desired, FRESH, requires={"high": ["low"]})
    assert addresses(result) == ["AptRepository[r]", "File[/etc/apart]"]
    assert [item.role for item in result.unknown] == ["low", "high"]


def test_a_merge_waits_for_the_package_that_brings_the_file():
    merge = File(
        path="/etc/d.json",
        content=Merge(format="json", values={"a": 1}),
        delivered_by="d",
    )
    service = Service(name="d.service", running=True, restart_on=("/etc/d.json",))
    state = {**FRESH, "Package[d]": {"version": None, "candidates": ["1"]}}
    result = planned([Package(name="d"), merge, service], state)
    assert addresses(result) == ["Package[d]"]
    assert result.unknown[0].until == "package d has brought its /etc/d.json"

    later = {
        **FRESH,
        "Package[d]": {"version": "1"},
        "File[/etc/d.json]": file_state('{"theirs": true}'),
        "Service[d.service]": RUNNING,
    }
    change = planned([Package(name="d"), merge, service], later).changes[0]
    assert change.resource.content == '{\n  "theirs": true,\n  "a": 1\n}\n'


def test_packages_do_not_wait_for_a_file_that_is_to_be_merged():
    merge = File(
        path="/etc/d.json", content=Merge(format="json", values={"a": 1}), delivered_by="d"
    )
    desired = [
        Desired(role="low", resource=Package(name="d")),
        Desired(role="low", resource=merge),
        Desired(role="high", resource=Package(name="e")),
        Desired(role="high", resource=CONFIG),
    ]
    offered = {"version": None, "candidates": ["1"]}
    state = {**FRESH, "Package[d]": offered, "Package[e]": offered}
    result = plan("h", desired, state, requires={"high": ["low"]})
    assert addresses(result) == ["Package[d]", "Package[e]"]
    assert [item.address for item in result.unknown] == ["File[/etc/d.json]", "File[/etc/x.conf]"]


def test_a_file_that_cannot_be_parsed_is_never_thrown_away():
    merge = File(path="/etc/d.json", content=Merge(format="json", values={"a": 1}))
    with pytest.raises(HostError, match="not valid JSON at line 2"):
        planned([merge], {"File[/etc/d.json]": file_state("{\n oops")})


def test_everything_behind_a_reboot_is_unknown():
    reboot = Reboot(name="kernel", unless=PathExists(path="/run/reboot-required", absent=True))
    desired = [Desired(role="a", resource=reboot), Desired(role="b", resource=CONFIG)]
    result = plan("h", desired, {"Reboot[kernel]": {"needed": True}})
    assert addresses(result) == ["Reboot[kernel]"]
    assert result.unknown[0].until == "the host has rebooted"


def test_a_command_runs_when_one_of_its_inputs_changes():
    update = Command(
        name="u", argv=("update",), unless=UpToDate(output="/o", inputs=("/etc/x.conf",))
    )
    state = {"Command[u]": {"done": True}}
    result = planned([CONFIG, update], state)
    assert addresses(result) == ["File[/etc/x.conf]", "Command[u]"]
    assert result.changes[1].reason == "File[/etc/x.conf] changed"


def test_a_unit_file_that_changes_means_a_daemon_reload():
    unit = File(path="/etc/systemd/system/x.service.d/proxy.conf", content="[Service]\n")
    service = Service(name="x.service", running=True, restart_on=(unit.path,))
    result = planned([unit, service], {"Service[x.service]": RUNNING})
    restart = next(change for change in result.changes if change.kind == "Service")
    assert restart.before["reload_needed"] is True


def test_a_drop_in_that_goes_means_a_daemon_reload():
    drop_in = Absent(path="/etc/systemd/system/x.service.d/proxy.conf")
    service = Service(name="x.service", running=True, restart_on=(drop_in.path,))
    present = {f"Absent[{drop_in.path}]": file_state("[Service]\n")}
    result = planned([drop_in, service], {"Service[x.service]": RUNNING, **present})
    restart = next(change for change in result.changes if change.kind == "Service")
    assert restart.after["restart"] is True
    assert restart.before["reload_needed"] is True


def test_a_path_is_one_thing():
    wanted = [
        Desired(role="a", resource=CONFIG),
        Desired(role="b", resource=Absent(path=CONFIG.path)),
    ]
    with pytest.raises(UnsupportedError, match=r"File\[/etc/x.conf\] \(role a\) and Absent"):
        united(wanted)


def test_merged_secrets_stay_secret():
    merge = File(
        path="/etc/d.json", content=Merge(format="json", values={"a": {"b": Secret("hunter2")}})
    )
    (change,) = planned([merge], {}).changes
    assert isinstance(change.resource.content, Secret)
    assert "hunter2" not in repr(change)


def test_a_simulated_apply_leaves_an_empty_plan():
    wanted = [CONFIG, SERVICE, Package(name="x"), Sysctl(key="net.ipv4.ip_forward", value="1")]
    state = {**FRESH, "Package[x]": {"version": None, "candidates": ["1"]}}
    first = planned(wanted, state)
    assert len(first.changes) == 4
    assert planned(wanted, simulate(first.changes, state)).empty


# ---------------------------------------------------------------- sets of packages


def package_state(version: str | None, *candidates: str, hold: bool = False) -> dict:
    return {"version": version, "hold": hold, "candidates": list(candidates)}


def in_set(name: str, version: str | None = "580") -> Package:
    return Package(name=name, version=version, together="the driver")


SETS = {
    "nothing there: the newest that all have": (
        (None, ("580.178-1", "580.95-1")),
        (None, ("580.95-1",)),
        "580.95-1",
    ),
    "no upgrade only because there is a newer one": (
        ("580.95-1", ("580.178-1", "580.95-1")),
        (None, ("580.178-1", "580.95-1")),
        "580.95-1",
    ),
    "another branch: all move": (
        ("575.57-1", ("580.178-1", "580.95-1")),
        ("575.57-1", ("580.178-1", "580.95-1")),
        "580.178-1",
    ),
}


@pytest.mark.parametrize("case", SETS.values(), ids=SETS)
def test_a_set_is_at_one_version(case):
    (one, one_offers), (other, other_offers), expected = case
    state = {
        **FRESH,
        "Package[a]": package_state(one, *one_offers),
        "Package[b]": package_state(other, *other_offers),
    }
    result = planned([in_set("a"), in_set("b")], state)
    changed = {change.address: change.after["version"] for change in result.changes}
    for name, present in (("a", one), ("b", other)):
        assert changed.get(f"Package[{name}]", present) == expected
    assert planned([in_set("a"), in_set("b")], simulate(result.changes, state)).empty


def test_what_moved_behind_our_back_is_moved_back():
    offers = ("580.178-1", "580.95-1")
    state = {
        **FRESH,
        **{f"Package[{name}]": package_state("580.95-1", *offers) for name in "ab"},
        "Package[c]": package_state("580.178-1", *offers),
    }
    (change,) = planned([in_set(name) for name in "abc"], state).changes
    assert change.address == "Package[c]"
    assert change.after["version"] == "580.95-1"
    assert change.reason == "580.178-1 is installed, the driver is at 580.95"


def test_a_set_without_a_version_in_common_is_refused():
    state = {
        **FRESH,
        "Package[a]": package_state(None, "580.178-1"),
        "Package[b]": package_state(None, "580.95-1"),
    }
    with pytest.raises(HostError, match="no version in common: a can be had at 580"):
        planned([in_set("a"), in_set("b")], state)


def test_a_set_waits_for_its_repository():
    state = {"PackageLists": {"age_s": 60}}
    repository = AptRepository(name="x", uris=("http://x",), suites=("/",))
    result = planned([repository, in_set("a"), in_set("b")], state)
    assert addresses(result) == ["AptRepository[x]"]
    assert {item.until for item in result.unknown} == {"repository x has been listed"}


def test_what_waits_for_a_change_is_unknown_until_then():
    pin = Package(name="pin")
    package = Package(name="a", version="2", waits_for=("Package[pin]",))
    state = {
        **FRESH,
        "Package[pin]": package_state(None, "1"),
        "Package[a]": package_state(None, "1"),
    }
    result = planned([pin, package], state)
    assert addresses(result) == ["Package[pin]"]
    assert [item.until for item in result.unknown] == ["Package[pin] has been made so"]


def test_a_drop_in_that_an_interrupted_run_wrote_is_read():
    drop_in = "/etc/systemd/system/x.service.d/a.conf"
    service = Service(name="x.service", running=True, restart_on=(drop_in,))
    state = {
        f"File[{drop_in}]": file_state("new\n"),
        "Service[x.service]": {**RUNNING, "stale": [drop_in]},
    }
    (restart,) = planned([File(path=drop_in, content="new\n"), service], state).changes
    assert restart.before["reload_needed"] is True
    assert restart.after["restart"] is True


def test_what_waits_for_a_restart_comes_after_it():
    """Restarts are the last of their stage: what asks the service then has to come later."""
    asked = Command(
        name="ask",
        argv=("ask",),
        unless=PathExists(path="/run/answer"),
        waits_for=("Service[x.service]",),
    )
    stale = {**RUNNING, "stale": ["/etc/x.conf"]}
    state = {
        "File[/etc/x.conf]": file_state("new\n"),
        "Service[x.service]": stale,
        "Command[ask]": {"done": False},
    }
    result = planned([CONFIG, SERVICE, asked], state)
    assert addresses(result) == ["Service[x.service]"]
    assert [item.until for item in result.unknown] == ["Service[x.service] has been made so"]


def test_a_reboot_that_waits_is_not_planned_before_it_is_known():
    asked = Reboot(
        name="for the driver",
        unless=PathExists(path="/proc/driver"),
        waits_for=("Package[a]",),
    )
    state = {
        **FRESH,
        "Package[a]": package_state(None, "1"),
        "Reboot[for the driver]": {"needed": True},
    }
    assert addresses(planned([Package(name="a"), asked], state)) == ["Package[a]"]
    installed = {**state, "Package[a]": package_state("1")}
    assert addresses(planned([Package(name="a"), asked], installed)) == ["Reboot[for the driver]"]


# ---------------------------------------------------------------- one file of several roles


def merging(path: str, values: dict, **more: object) -> File:
    return File(path=path, content=Merge(format="json", values=values), **more)


def test_two_roles_may_own_keys_of_one_file():
    desired = [
        Desired(role="a", resource=merging("/x", {"one": {"a": 1}}, validate=("check",))),
        Desired(role="b", resource=merging("/x", {"one": {"b": 2}, "two": 3})),
    ]
    (item,) = united(desired)
    assert item.role == "a"
    assert item.resource.content.values == {"one": {"a": 1, "b": 2}, "two": 3}
    assert item.resource.validate == ("check",)


def test_two_roles_may_not_want_one_key_differently():
    desired = [
        Desired(role="a", resource=merging("/x", {"one": {"a": 1}})),
        Desired(role="b", resource=merging("/x", {"one": {"a": 2}})),
    ]
    with pytest.raises(UnsupportedError, match="roles a and b: key 'one': key 'a'"):
        united(desired)


def test_a_new_repository_does_not_pass_for_fresh_lists_of_all_others():
    repository = AptRepository(name="x", uris=("http://x",), suites=("/",))
    state = {"PackageLists": {"age_s": None}, "Package[a]": package_state(None)}
    result = planned([repository, Package(name="a", version="1")], state)
    assert addresses(result) == ["Command[refresh package lists]", "AptRepository[x]"]


@pytest.mark.parametrize(("age", "refreshed"), [(3600, True), (5, False)])
def test_lists_without_those_of_every_source_are_fetched_once(age: int, refreshed: bool):
    state = {
        "PackageLists": {"age_s": age, "complete": False},
        "Package[a]": package_state(None, "1-1"),
    }
    result = planned([Package(name="a", version="1")], state)
    assert ("Command[refresh package lists]" in addresses(result)) is refreshed


def test_a_version_of_the_branch_that_will_not_do_is_replaced_or_refused():
    package = Package(name="a", version="580", at_least="580.95.05", together="the driver")
    old = {**FRESH, "Package[a]": package_state("580.65.06-1", "580.126.09-1", "580.65.06-1")}
    (change,) = planned([package], old).changes
    assert change.after["version"] == "580.126.09-1"
    only_old = {**FRESH, "Package[a]": package_state(None, "580.65.06-1")}
    with pytest.raises(HostError, match=r"offers version 580, 580\.95\.05 or newer"):
        planned([package], only_old)


def test_a_command_tells_what_its_question_said():
    asked = Command(name="c", argv=("c",), unless=Succeeds(argv=("q",)))
    said = {"done": False, "said": ["a taint is missing", "the label zone is gone"]}
    (change,) = planned([asked], {"Command[c]": said}).changes
    assert change.reason == "a taint is missing (and 1 more)"
    assert planned([asked], {"Command[c]": {"done": True}}).changes == ()


@pytest.mark.parametrize(
    ("there", "refused"), [(None, False), ("ours", False), ("another cluster's", True)]
)
def test_a_file_that_is_never_replaced(there: str | None, refused: bool):
    key = File(path="/pki/ca.key", content=Secret("ours"), never_replaced="reset the host first")
    state = {"File[/pki/ca.key]": {"type": "absent"}}
    if there is not None:
        digest = sha256(there.encode()).hexdigest()
        state = {"File[/pki/ca.key]": {**wanted(key, {}), "sha256": digest}}
    if not refused:
        planned([key], state)
        return
    with pytest.raises(HostError) as caught:
        planned([key], state)
    assert "/pki/ca.key" in caught.value.message
    assert caught.value.hint == "reset the host first"


KUBELET = Package(
    name="kubelet",
    version="1.36",
    replaces=Replaces(versions=("1.35", "1.36"), hint="upgrade minor by minor"),
)


@pytest.mark.parametrize(
    ("installed", "refused"),
    [
        (None, False),
        ("1.36.4-1.1", False),
        ("1.35.9-1.1", False),
        ("1.34.9-1.1", True),
        ("1.3.5-1", True),
        ("1.37.0-150500.1.1", True),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
def test_a_package_replaces_only_what_it_may(installed: str | None, refused: bool, waits: bool):
    repository = AptRepository(name="k", uris=("https://k.invalid",), suites=("/",))
    now = {"files": [], "fetched": False} if waits else wanted(repository, {})
    state = {
        **FRESH,
        "AptRepository[k]": now,
        "Package[kubelet]": package_state(installed, *([] if waits else ["1.36.4-1.1"])),
    }
    if not refused:
        planned([repository, KUBELET], state)
        return
    with pytest.raises(HostError) as caught:
        planned([repository, KUBELET], state)
    for word in ("kubelet", str(installed), "1.36"):
        assert word in caught.value.message
    assert caught.value.hint == "upgrade minor by minor"


def test_a_module_that_the_kernel_has_not_is_refused():
    module = KernelModule(name="ip_vs")
    missing = {"missing_from": "6.8.0-1-kvm", "remedy": "apt-get install it"}
    state = {"KernelModule[ip_vs]": {"loaded": False, "at_boot": False, **missing}}
    with pytest.raises(
        HostError, match=r"kernel 6.8.0-1-kvm, which runs, has no module ip_vs"
    ) as e:
        planned([CONFIG, module], state)
    assert e.value.hint == "apt-get install it"
    built = KernelModule(name="ip_vs", out_of_tree=True)
    assert "KernelModule[ip_vs]" in addresses(planned([built], state))
    reboot = Reboot(name="b", unless=PathExists(path="/x"))
    behind = planned([reboot, module], {**state, "Reboot[b]": {"needed": True}})
    assert [item.address for item in behind.unknown] == ["KernelModule[ip_vs]"]
    with pytest.raises(HostError):
        planned([reboot, module], {**state, "Reboot[b]": {"needed": False}})
