"""What ssh is told about a host, and what known_hosts says of its key."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.connection import Connection
from aiprov.errors import UnreachableError
from aiprov.resources import Secret
from aiprov.survey.transport import known_hosts, transport_for
from aiprov.survey.transport.openssh import OpensshTransport, failure
from aiprov.survey.transport.settings import Hop, openssh_reason, settings_for
from aiprov.survey.transport.ssh_args import given_options

HOST = Connection(name="h", address="node1", user="ops", ssh_args=("-F", "none"))


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    """The settings of a connection under an ssh configuration."""

    def settings(text: str, *args: str, **changed: Any) -> Any:
        file = tmp_path / f"config{len(list(tmp_path.iterdir()))}"
        file.write_text(text)
        connection = replace(HOST, ssh_args=("-F", str(file), *args), **changed)
        return settings_for(connection)

    return settings


def test_the_first_value_counts_and_arguments_come_before_files(configured: Any) -> None:
    text = "Port 2200\nHost node*\n  Port 2300\n  HostName %h.example\nHost *\n  User nobody\n"
    found = configured(text)
    assert (found.port, found.hostname, found.user) == (2200, "node1.example", "ops")
    assert configured(text, user=None).user == "nobody"
    assert configured(text, "-p", "24").port == 24
    assert configured(text, "-oPort=25").port == 25
    assert configured(text, "-o", "Port 26", port=27).port == 27
    assert configured(text).key_name == "[node1.example]:2200"


def test_patterns_of_hosts(configured: Any) -> None:
    text = "Host !node1 *\n  Port 1\nHost node?\n  Port 2\n"
    assert configured(text).port == 2
    assert configured(text, address="other").port == 1


def test_includes(configured: Any, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "10.conf").write_text("Host node1\n  Port 77\n")
    assert configured(f"Include {folder}/*.conf\nHost *\n  Port 1\n").port == 77


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Match exec true\n  Port 1\n", "Match block"),
        ("Match final all\n  Port 1\n", None),
        ("ControlPath ~/.ssh/%C\n", "ControlPath"),
        ("ControlMaster auto\nControlPersist 60\n", None),
        ("GSSAPIAuthentication yes\n", "GSSAPIAuthentication"),
        ("GSSAPIAuthentication no\n", None),
        ("ProxyCommand nc -X connect %h %p\n", "ProxyCommand"),
        ("ProxyCommand none\n", None),
        ("ProxyCommand ssh -W %h:%p jump\n", None),
        ("IdentityFile ~/.ssh/id_ed25519_sk\n", "security key"),
        ("IdentityAgent /run/agent\n", "IdentityAgent"),
        ("IdentityAgent none\n", None),
    ],
)
def test_what_only_openssh_can_do(configured: Any, text: str, reason: str | None) -> None:
    found = openssh_reason(configured(text))
    assert (reason in found) if reason and found else found is reason


def test_auto_leaves_such_a_host_to_openssh() -> None:
    plain = transport_for(HOST)
    assert not isinstance(plain, OpensshTransport)
    special = replace(HOST, ssh_args=(*HOST.ssh_args, "-o", "ControlPath=/run/x"))
    assert isinstance(transport_for(special), OpensshTransport)
    assert not isinstance(transport_for(replace(special, transport="paramiko")), OpensshTransport)


def test_ways_through_jump_hosts(configured: Any) -> None:
    assert configured("ProxyJump a,me@b:2222\n").jumps == (
        Hop(name="a"),
        Hop(name="b", user="me", port=2222),
    )
    assert configured("", "-J", "ssh://me@[fe80::1]:23").jumps == (
        Hop(name="fe80::1", user="me", port=23),
    )
    assert configured("ProxyCommand ssh -W %h:%p me@b:2222").jumps == (
        Hop(name="b", user="me", port=2222),
    )
    assert configured("ProxyJump none\nProxyCommand nc %h %p\n").proxy_command == "nc node1 22"
    assert configured("ProxyJump a\n", "-o", "ProxyJump=none").jumps == ()


def test_keys_and_known_hosts(configured: Any) -> None:
    found = configured(
        "IdentityFile /k/%r\nUserKnownHostsFile /a /b\nGlobalKnownHostsFile none\n",
        "-i",
        "/k/first",
        private_key_file="/k/inventory",
    )
    assert found.identities == ("/k/inventory", "/k/first", "/k/ops")
    assert found.known_hosts == ("/a", "/b")
    assert configured("StrictHostKeyChecking accept-new\n").strict == "accept-new"
    assert configured("", "-o", "StrictHostKeyChecking=no").strict == "no"
    assert configured("StrictHostKeyChecking ask\n").strict == "yes"


@pytest.mark.parametrize("args", [("node1",), ("-?",), ("-p",), ("-o", 'IdentityFile="x')])
def test_arguments_that_are_not_sshs_are_an_error_that_names_the_host(args: Any) -> None:
    with pytest.raises(UnreachableError, match=r"^h: ssh's configuration cannot be used"):
        settings_for(replace(HOST, ssh_args=args))


def test_a_line_that_cannot_be_read_is_named(configured: Any) -> None:
    with pytest.raises(UnreachableError, match=r"config\d+:2: "):
        configured('Port 22\nIdentityFile "x\n')


@given(args=st.lists(st.text(max_size=8), max_size=4))
def test_any_arguments_are_taken_or_refused(args: list[str]) -> None:
    try:
        given_options(tuple(args))
    except ValueError:
        return


def test_openssh_command_line_keeps_the_users_options_first() -> None:
    connection = replace(HOST, ssh_args=("-o", "BatchMode=no"), port=23)
    argv = OpensshTransport(connection, settings_for(HOST)).argv("true", ())
    assert argv.index("BatchMode=no") < argv.index("BatchMode=yes")
    assert argv[-3:] == ("--", "node1", "true")


def test_openssh_does_not_take_passwords() -> None:
    connection = replace(HOST, transport="openssh", password=Secret("pw"))
    with pytest.raises(UnreachableError, match="cannot use ansible_password"):
        transport_for(connection).run("true", timeout_s=1)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("ops@node1: Permission denied (publickey).", "was not let in"),
        ("ssh: Could not resolve hostname node1: Name or service not known", "no ssh connection"),
        ("client_loop: send disconnect: Broken pipe", "was lost"),
        ("Timeout, server node1 not responding.", "was lost"),
        ("No ED25519 host key is known for node1\nHost key verification failed.", "is not known"),
        ("kex_exchange_identification: read: Connection reset by peer", "was lost"),
        ("", "without a word"),
    ],
)
def test_what_ssh_says_is_told_with_its_way_out(said: str, meaning: str) -> None:
    error = failure(settings_for(HOST), said.encode())
    assert meaning in str(error)
    assert error.hint


# ---------------------------------------------------------------- known_hosts

KEY, OTHER = b"key one", b"key two"


def entry(hosts: str, key: bytes = KEY, marker: str = "") -> str:
    text = base64.b64encode(key).decode()
    return f"{marker} {hosts} ssh-ed25519 {text} comment\n".lstrip()


def hashed(name: str) -> str:
    salt = b"0123456789abcdef0123"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "unknown"),
        (entry("node1"), "known"),
        (entry("node1", OTHER), "changed"),
        (entry("node1", OTHER) + entry("node1"), "known"),
        (entry("other,node1"), "known"),
        (entry("node*"), "known"),
        (entry("!node1,node*"), "unknown"),
        (entry("[node1]:2222"), "unknown"),
        (entry(hashed("node1")), "known"),
        (entry(hashed("node2")), "unknown"),
        (entry("|1|no|base64!"), "unknown"),
        (entry("node1", marker="@revoked"), "revoked"),
        (entry("node1") + entry("node1", marker="@revoked"), "revoked"),
        (entry("*", marker="@cert-authority"), "unknown"),
        ("# comment\n\nnode1 short\nnode1 ssh-rsa not-base64\n", "unknown"),
    ],
)
def test_known_hosts(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    entries = known_hosts.entries_for((str(file), str(tmp_path / "none")), "node1")
    assert known_hosts.verdict(entries, "ssh-ed25519", KEY) == expected


def test_a_key_that_was_just_accepted_is_known(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(entry("other"))
    assert known_hosts.entries_for((str(file),), "[node1]:22") == ()
    with file.open("a") as opened:
        opened.write(known_hosts.line("[node1]:22", "ssh-ed25519", KEY))
    assert known_hosts.entries_for((str(file),), "[node1]:22")[0].key == KEY
