"""The program that takes the steps on the host: what it writes is what the planner would."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from aiprov.engines.first_boot import (
    accounts,
    apt,
    commands,
    dnf,
    journal,
    packages,
    paths,
    questions,
    units,
)
from aiprov.engines.first_boot.commands import StepFailedError, again, must, run

ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name

# ---------------------------------------------------------------- files


def step(path, **more):
    ownership = {"mode": "0640", "owner": ME, "group": MY_GROUP}
    return {"kind": "File", "path": str(path), **ownership, **more}


def test_a_file_is_written_once(tmp_path):
    wanted = step(tmp_path / "deep" / "file", content="x\n")
    assert paths.ensure_file(wanted) is True
    assert paths.ensure_file(wanted) is False
    assert (tmp_path / "deep" / "file").stat().st_mode & 0o777 == 0o640
    (tmp_path / "deep" / "file").chmod(0o600)
    assert paths.ensure_file(wanted) is True
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_what_does_not_validate_leaves_the_file_and_no_rest(tmp_path):
    file = tmp_path / "file"
    file.write_text("good\n")
    wanted = step(file, content="bad\n", validate=["grep", "-q", "good", "{staged}"])
    with pytest.raises(StepFailedError, match="grep exited 1"):
        paths.ensure_file(wanted)
    assert file.read_text() == "good\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_version_before_the_first_change_is_kept(tmp_path):
    file = tmp_path / "file"
    file.write_text("first\n")
    for text in ("second\n", "third\n"):
        paths.ensure_file(step(file, content=text, keep_previous=True))
    assert (tmp_path / "file.aiprov-previous").read_text() == "first\n"
    assert file.read_text() == "third\n"


@pytest.mark.parametrize(("started", "verbs"), [("0", ["restart"]), ("9" * 18, [])])
def test_a_service_is_restarted_without_a_file_that_went(tmp_path, monkeypatch, started, verbs):
    drop_in = tmp_path / "proxy.conf"
    drop_in.write_text("[Service]\n")
    asked = []
    active = dict.fromkeys(units._PROPERTIES.split(","), "") | {
        "ActiveState": "active", "InactiveExitTimestampMonotonic": started,
    }  # fmt: skip
    monkeypatch.setattr(units, "_show", lambda _name: active)
    monkeypatch.setattr(units, "_attempt", lambda _name, verb: asked.append(verb))
    assert paths.ensure_absent({"path": str(drop_in), "keep_previous": True})
    service = {"name": "x.service", "masked": None, "enabled": None, "running": True, "created": []}
    service |= {"restart_on": [str(drop_in)], "releases": [str(drop_in)]}
    assert units.ensure_service(service) is bool(verbs)
    assert asked == verbs
    assert list(tmp_path.iterdir()) == []


def test_a_merge_takes_the_prepared_text_where_there_is_no_file(tmp_path):
    wanted = step(tmp_path / "f", format="json", values={"a": 1}, fresh="fresh\n")
    paths.ensure_file(wanted)
    assert (tmp_path / "f").read_text() == "fresh\n"


def test_an_unknown_owner_is_said(tmp_path):
    with pytest.raises(StepFailedError, match="no-such-user"):
        paths.ensure_file({**step(tmp_path / "f", content=""), "owner": "no-such-user"})


def test_links_directories_and_absence(tmp_path):
    link = {"path": str(tmp_path / "link"), "target": "there"}
    assert (paths.ensure_link(link), paths.ensure_link(link)) == (True, False)
    folder = step(tmp_path / "folder", mode="0750")
    assert (paths.ensure_directory(folder), paths.ensure_directory(folder)) == (True, False)
    (tmp_path / "folder" / "x").touch()
    with pytest.raises(StepFailedError, match="not empty"):
        paths.ensure_absent({"path": folder["path"]})
    for name in ("folder/x", "folder", "link"):
        gone = {"path": str(tmp_path / name)}
        assert (paths.ensure_absent(gone), paths.ensure_absent(gone)) == (True, False)
    with pytest.raises(StepFailedError, match="no regular file"):
        paths.ensure_file(step(tmp_path, content=""))


# ---------------------------------------------------------------- commands and questions


def test_a_command_that_fails_says_why():
    with pytest.raises(StepFailedError, match=r"sh exited 3: no . luck"):
        must(["sh", "-c", "echo no; echo luck; exit 3"])
    assert run(["/no/such/program"]).code == 127


def test_a_daemon_left_behind_is_not_waited_for():
    assert run(["sh", "-c", "sleep 60 & echo $!; exit 0"]).code == 0


def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(commands, "TIMEOUT_S", 0.2)
    assert run(["sleep", "60"]).code == 124


@pytest.mark.parametrize("secret", ["t0psecret-value, and no newline", "x" * 300_000])
def test_a_secret_goes_to_standard_input_and_into_no_log(secret, caplog):
    caplog.set_level("INFO", commands.LOG.name)
    hidden = [secret.split(",")[0]]
    said = must(["sh", "-c", "cat; echo read it"], stdin=secret, hidden=hidden)
    assert said.endswith("read it\n")
    assert hidden[0] not in said + caplog.text
    assert "***" in caplog.text
    assert must(["wc", "-c"], stdin=secret).split() == [str(len(secret))]
    with pytest.raises(StepFailedError, match=r"sh exited 4: bad \*\*\*"):
        must(
            ["sh", "-c", 'echo "bad $(head -c 30)"; exit 4'],
            stdin=hidden[0][:30],
            hidden=[hidden[0][:30]],
        )


def test_a_command_that_does_not_read_its_input_is_not_waited_for():
    assert run(["true"], stdin="x" * 300_000).code == 0


def test_again_gives_up_after_the_last_delay(monkeypatch):
    slept = []
    monkeypatch.setattr(commands.time, "sleep", slept.append)

    def fails():
        raise StepFailedError("not yet")

    with pytest.raises(StepFailedError, match="not yet"):
        again(fails, (1, 2))
    assert slept == [1, 2]


def test_questions(tmp_path):
    there, newer = tmp_path / "there", tmp_path / "newer"
    there.touch()
    newer.touch()
    os.utime(newer)

    def ask(**question):
        return questions.answer(question)

    assert ask(ask="PathExists", path=str(there), absent=False)
    assert not ask(ask="PathExists", path=str(there), absent=True)
    assert ask(ask="Succeeds", argv=["true"])
    assert not ask(ask="Succeeds", argv=["false"])
    assert ask(ask="UpToDate", output=str(newer), inputs=[str(there), "/no/such"])
    assert not ask(ask="UpToDate", output="/no/such", inputs=[])
    assert not ask(ask="BootedWith", argument="no.such=argument")


# ---------------------------------------------------------------- packages and accounts


MADISON = """ docker-ce | 5:29.5.0-1~debian.12~bookworm | https://d.example bookworm/stable amd64 Packages
 docker-ce | 5:29.4.3-1~debian.12~bookworm | https://d.example bookworm/stable amd64 Packages
 docker-ce | 5:29.4.30-1 | https://d.example bookworm/stable Sources
"""  # noqa: E501


@pytest.fixture
def answers(monkeypatch):
    """Commands are answered from a table; what was run is recorded."""
    table, ran = {}, []

    def answer(argv, quiet=False, stdin="", hidden=()):
        ran.append(list(argv))
        found = next((table[key] for key in table if " ".join(argv).startswith(key)), (0, ""))
        return commands.Result(*found)

    monkeypatch.setattr(commands, "run", answer)
    monkeypatch.setattr(apt, "run", answer)
    monkeypatch.setattr(dnf, "run", answer)
    monkeypatch.setattr(commands.time, "sleep", lambda _seconds: None)
    return table, ran


def wanted_package(manager="apt", **package):
    item = {"name": "docker-ce", "version": None, "hold": None, **package}
    return {"manager": manager, "absent": False, "packages": [item]}


def test_apt_resolves_the_exact_version_from_metadata(answers):
    table, ran = answers
    table["dpkg-query"] = (1, "")
    table["apt-cache madison"] = (0, MADISON)
    assert packages.ensure_packages(wanted_package(version="29.4", hold=True))
    install = next(argv for argv in ran if "install" in argv)
    assert install[-1] == "docker-ce=5:29.4.3-1~debian.12~bookworm"
    assert ran[-1] == ["apt-mark", "hold", "docker-ce"]


def test_a_set_is_installed_at_the_newest_version_that_all_are_offered_in(answers):
    table, ran = answers
    table["dpkg-query"] = (1, "")
    for name, versions in {"one": ("580.178", "580.95"), "two": ("580.95",)}.items():
        rows = [f" {name} | {version}-1 | http://r ./ Packages" for version in versions]
        table[f"apt-cache madison {name}"] = (0, "\n".join(rows) + "\n")
    step = wanted_package()
    step["packages"] = [
        {"name": name, "version": "580", "hold": None, "together": "the driver"}
        for name in ("one", "two")
    ]
    assert packages.ensure_packages(step)
    assert next(argv for argv in ran if "install" in argv)[-2:] == ["one=580.95-1", "two=580.95-1"]


def test_what_is_not_on_offer_is_said(answers):
    table, _ = answers
    table["dpkg-query"] = (1, "")
    table["apt-cache madison"] = (0, MADISON)
    with pytest.raises(StepFailedError, match=r"docker-ce 28 is not on offer; there is: 5:29\.5"):
        packages.ensure_packages(wanted_package(version="28"))


def test_nothing_is_installed_twice(answers):
    table, ran = answers
    table["dpkg-query"] = (0, "installed 5:29.4.3-1~debian.12~bookworm\n")
    table["apt-mark showhold"] = (0, "docker-ce\n")
    assert not packages.ensure_packages(wanted_package(version="29.4", hold=True))
    assert not any("install" in argv for argv in ran)


def test_dnf_asks_for_the_newest_that_meets_the_version(answers):
    table, ran = answers
    table["rpm -q"] = (1, "package docker-ce is not installed\n")
    table["dnf -q repoquery"] = (0, "29.4.3-1.el9\n")
    assert packages.ensure_packages(wanted_package("dnf", version="29.4", hold=True))
    assert ["dnf", "-y", "install", "--allowerasing", "docker-ce-29.4.3-1.el9"] in ran
    assert ran[-1] == ["dnf", "-y", "versionlock", "add", "docker-ce"]


def test_an_account_is_made_and_then_only_completed(monkeypatch):
    ran = []
    monkeypatch.setattr(accounts, "must", ran.append)
    settings_ = dict.fromkeys(("uid", "group", "home", "shell"))
    new = {"name": "no-such-user", "groups": ["adm"], "system": True, "create_home": False}
    assert accounts.ensure_user({**settings_, **new, "shell": "/bin/sh"})
    assert ran == [["useradd", "-r", "-M", "-G", "adm", "-s", "/bin/sh", "no-such-user"]]
    mine = {**settings_, **new, "name": ME, "groups": [MY_GROUP]}
    assert not accounts.ensure_user(mine)
    assert accounts.ensure_user({**mine, "shell": "/bin/other"})
    assert ran[-1] == ["usermod", "-s", "/bin/other", ME]
    with pytest.raises(StepFailedError, match="no group"):
        accounts.ensure_user({**mine, "groups": ["no-such-group"]})


# ---------------------------------------------------------------- the journal


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "RESULT", str(tmp_path / "lib" / "first-boot.json"))
    monkeypatch.setattr(journal, "boot_id", lambda: "boot-1")
    return monkeypatch


STEPS = [{"address": "A[1]"}, {"address": "P[1], P[2]", "covers": ["P[1]", "P[2]"]}]


def test_a_run_that_was_cut_off_is_taken_up(kept):
    first = journal.Journal()
    assert first.unfinished()
    first.begin(STEPS, ["File[/w]"])
    first.record(0, "done", True, 1.0)
    second = journal.Journal()
    assert second.unfinished()
    second.begin(STEPS, ["File[/w]"])
    assert (second.is_done(0), second.is_done(1)) == (True, False)
    assert second.changed(["A[1]"])
    assert second.changed(["File[/w]"])
    assert not second.changed(["P[2]"])
    second.record(1, "done", True, 1.0)
    assert second.changed(["P[2]"])


@pytest.mark.parametrize("end", ["done", "failed"])
def test_what_has_ended_is_not_taken_up(kept, end):
    first = journal.Journal()
    first.begin(STEPS, [])
    first.record(0, "done", True, 1.0)
    first.record(1, end, False, 1.0, "why")
    if end == "done":
        first.finish()
    second = journal.Journal()
    assert not second.unfinished()
    second.begin(STEPS, [])
    assert not second.is_done(0)


def test_a_reboot_is_proven_by_another_boot(kept):
    first = journal.Journal()
    first.begin(STEPS, [])
    first.wait_for_reboot(1)
    assert journal.Journal().waits_for_reboot()
    assert not journal.Journal().rebooted_for(1)
    kept.setattr(journal, "boot_id", lambda: "boot-2")
    assert not journal.Journal().waits_for_reboot()
    assert journal.Journal().rebooted_for(1)
    assert not journal.Journal().rebooted_for(0)
