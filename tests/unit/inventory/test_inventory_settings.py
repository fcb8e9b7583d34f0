"""What cases cannot say: plays, robustness, laziness, Ansible's configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aiprov import inventory, settings
from aiprov.errors import AiprovError, InventoryErrors
from aiprov.inventory.variables import plain
from aiprov.settings import names
from aiprov.settings.check import check

pytestmark = pytest.mark.usefixtures("toy_roles")


def test_a_play_may_have_other_variables_with_the_prefix() -> None:
    variables = {"engine_count": 4, "engine_result": {"rc": 0}, "engine_driver_branch": "x"}
    assert settings.from_mapping("engine", variables).engine_count == 4


def test_a_play_with_a_misspelt_variable() -> None:
    with pytest.raises(InventoryErrors, match=r"engine_cuont: .*did you mean engine_count\?"):
        settings.from_mapping("engine", {"engine_cuont": 4})


def test_a_play_templates_only_what_the_role_needs() -> None:
    asked: list[str] = []

    def template(value: str) -> str:
        asked.append(value)
        return "20m"

    variables = {"engine_size": "{{ size }}", "other": "{{ undefined }}", "engine_count": 4}
    assert settings.from_mapping("engine", variables, template=template).engine_size == "20m"
    assert asked == ["{{ size }}"]


def test_a_play_names_its_host_where_a_variable_is_missing() -> None:
    with pytest.raises(InventoryErrors, match="h1: role engine_driver needs engine_driver_branch"):
        settings.from_mapping("engine_driver", {}, host="h1")


def test_the_longest_role_owns_a_variable() -> None:
    assert names.owner("engine_driver_branch") == "engine_driver"
    assert names.owner("engine_drive") == "engine"
    assert names.owner("engine") is None
    assert names.owner("engines_x") is None


def test_roles_come_in_order_with_what_they_require(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("h1 aiprov_roles=engine\nh2\n")
    found = inventory.load([str(hosts)])
    assert [settings.roles_of(host) for host in found.hosts] == [("base", "engine"), ("base",)]
    assert list(settings.resolve_all(found, only=("base",))["h1"].chosen) == ["base"]


def test_the_cluster_has_all_hosts_whatever_the_limit(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("[gpu]\nh1 ansible_host=10.0.0.1\nh2\n")
    cluster = settings.cluster(inventory.load([str(hosts)], limit="h2"))
    assert {name: (h.address, h.groups) for name, h in cluster.hosts.items()} == {
        "h1": ("10.0.0.1", ("gpu",)),
        "h2": ("h2", ("gpu",)),
    }


def test_hosts_may_know_of_each_others_variables_and_of_groups_in_order(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "h1\nh2 rack='r{{ 1 + 6 }}'\nh3\n"
        "[late]\nh3\n[early]\nh2\nh1\n[both:children]\nlate\nearly\n"
    )
    cluster = settings.cluster(inventory.load([str(hosts)], limit="h1"))
    assert cluster.groups["early"] == ("h2", "h1")
    assert set(cluster.groups["both"]) == {"h1", "h2", "h3"}
    assert cluster.hosts["h2"].variables["rack"] == "r7"
    assert "rack" not in cluster.hosts["h1"].variables
    assert "rack" in list(cluster.hosts["h2"].variables)


@given(st.text(min_size=1, max_size=30))
def test_every_name_has_an_owner_or_none_and_a_hint(name: str) -> None:
    owner = names.owner(name)
    assert owner is None or name.startswith(f"{owner}_")
    assert names.did_you_mean(name, names.settings_of("engine"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(JSON)
def test_plain_keeps_plain_values(value: object) -> None:
    assert plain(value) == value


@given(st.dictionaries(st.sampled_from(["engine_size", "engine_pools", "engine_limits"]), JSON))
def test_any_value_is_accepted_or_told(values: dict[str, object]) -> None:
    text = json.dumps(values)
    if "{{" in text or "{%" in text or "{#" in text:
        return
    try:
        settings.from_mapping("engine", values)
    except InventoryErrors as error:
        assert all(any(name in str(e) for name in values) for e in error.errors)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(limit=st.text(alphabet="gh12,:!&~*[]-@ ", min_size=1, max_size=8))
def test_any_limit_leaves_hosts_or_is_a_clear_error(tmp_path: Path, limit: str) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("[g]\nh[1:3]\n")
    try:
        found = inventory.load([str(hosts)], limit=limit)
    except AiprovError as error:
        assert limit.strip() == "" or "--limit" in str(error)
    else:
        assert {host.name for host in found.hosts} <= {"h1", "h2", "h3"}


def _python(code: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_ansible_cfg_and_the_environment_count(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\ninventory = i\nremote_user = cfg\nremote_port = 2022\ntimeout = 7\n"
        "host_key_checking = false\nvault_password_file = password\n"
        "[privilege_escalation]\nbecome = true\nbecome_user = boss\n"
        "[ssh_connection]\nssh_common_args = -J cfg@bastion\n"
    )
    (tmp_path / "password").write_text("x")
    (tmp_path / "i").write_text("h1\n")
    code = (
        "from aiprov import inventory as i; c = i.load(options=i.Options(private_key_file='/k'))"
        ".hosts[0].connection; print(c.user, c.port, c.timeout_s, c.ssh_args, c.become,"
        " c.become_user, c.private_key_file)"
    )
    wanted = "cfg 2022 7.0 ('-J', 'cfg@bastion', '-o', 'StrictHostKeyChecking=no') True boss /k"
    assert _python(code, tmp_path) == wanted
    changed = _python(
        code, tmp_path, ANSIBLE_REMOTE_USER="env", ANSIBLE_SSH_COMMON_ARGS="-J env@bastion"
    )
    assert changed.startswith("env 2022 7.0 ('-J', 'env@bastion'")


def test_nothing_of_ansible_is_imported_before_a_load(tmp_path: Path) -> None:
    code = (
        "import sys, aiprov.inventory, aiprov.settings.check, aiprov.settings.show;"
        "print([name for name in sys.modules if name.partition('.')[0] == 'ansible'])"
    )
    assert _python(code, tmp_path) == "[]"


def test_ansible_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / "i").write_text("[bad-name]\nh1\n")
    code = "from aiprov import inventory as i; print(i.load(['i'], limit='h1,nobody').warnings)"
    assert "nobody" in _python(code, tmp_path)


def test_a_report_reads_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i").write_text("h1 engine_cuont=3\n")
    report = check(lambda: inventory.load(["i"]))
    assert report.text() == (
        "error: i:1: engine_cuont: role engine has no such variable\n"
        "       did you mean engine_count?\n"
        "1 host, 0 groups: 1 error"
    )
    assert json.loads(json.dumps(report.document()))["errors"] == [
        {
            "hint": "did you mean engine_count?",
            "line": 1,
            "message": "engine_cuont: role engine has no such variable",
            "path": "i",
        }
    ]
