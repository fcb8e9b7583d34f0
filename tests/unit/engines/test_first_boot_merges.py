"""Keys merged and versions met on the host: the same that the planner would make of them."""

from __future__ import annotations

import json
import tomllib

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov import versions
from aiprov.engines.first_boot import paths
from aiprov.engines.first_boot import versions as host_versions
from aiprov.engines.first_boot.commands import StepFailedError
from aiprov.engines.first_boot.toml_keys import merge_toml
from aiprov.merge import merged
from aiprov.resources import Merge

DEBIAN_CONTAINERD = """version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
DOCKER_CONTAINERD = """#   Copyright 2018-2022 Docker Inc.

disabled_plugins = ["cri"]  # switch on for Kubernetes

#root = "/var/lib/containerd"
#[grpc]
#  address = "/run/containerd/containerd.sock"
"""
RUNC = {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}}
CONTAINERD = {
    "version": 2,
    "imports": ["/etc/containerd/conf.d/*.toml"],
    "disabled_plugins": [],
    "plugins": {
        "io.containerd.grpc.v1.cri": {
            "sandbox_image": "pause:3.9",
            "cni": {"bin_dir": "/opt/cni/bin", "conf_dir": None},
            "containerd": {"runtimes": {"runc": RUNC}},
        },
        "io.containerd.internal.v1.opt": None,
    },
}


# ---------------------------------------------------------------- merging


def same_meaning(text, values):
    """What the host wrote means what the planner wants, and the planner then leaves it alone."""
    new = merge_toml(text, values)
    merge = Merge(format="toml", values=values)
    assert tomllib.loads(new) == tomllib.loads(merged(merge, text))
    assert merged(merge, new) == new
    assert merge_toml(new, values) == new
    return new


@pytest.mark.parametrize("text", [DEBIAN_CONTAINERD, DOCKER_CONTAINERD, "", "version = 2"])
def test_containerd_of_each_maker(text):
    new = same_meaning(text, CONTAINERD)
    assert "SystemdCgroup = true" in new
    assert [line for line in new.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a = 1 # why\nb = 2\n", {"a": 3}),
        ("a = [\n  1, # one\n  2,\n]\nb = 2\n", {"a": [3]}),
        ('a = """\n[not.a.table]\nx = 1\n"""\n[t]\nx = 1\n', {"t": {"x": 2}}),
        ("[t]\nx = 1\n[t.u]\ny = 1\n[v]\n", {"t": {"u": None}}),
        ("[t]\nx = 1\n\n[u]\ny = 1\n", {"t": {"new": "v"}, "u": {"y": None}}),
        ("['a.b']\n\"c d\" = 'e'\n", {"a.b": {"c d": "e", "f": True}}),
        ("[t]\nx.y = 1\n", {"t": {"x": {"y": 2}}}),
        ("[t]\n", {"t": {}, "u": {}}),
        ("a = 'x'\n", {"a": "x"}),
        ("x = { a = 1, b = [1, 2] }\n", {"y": 1}),
        ("[[list]]\na = 1\n[[list]]\na = 2\n[t]\n", {"t": {"a": 1}}),
    ],
)
def test_toml_layouts(text, values):
    same_meaning(text, values)


@pytest.mark.parametrize(
    ("text", "values", "why"),
    [
        ("x = { a = 1 }\n", {"x": {"a": 2}}, "no tables below"),
        ("[[list]]\na = 1\n", {"list": {"a": 2}}, "array of tables"),
        ("[t]\nx.y = 1\n", {"t": {"x": {"z": 2}}}, "dotted keys"),
        ("[t]\nx = 1\n", {"t": 2}, "is a table"),
        ("a = [1\n", {"a": 2}, "never closed"),
        ('a = "x\n', {"a": 2}, "never closed"),
        ("what is this\n", {"a": 2}, "not valid TOML"),
    ],
)
def test_toml_that_cannot_be_edited_safely_fails(text, values, why):
    with pytest.raises(StepFailedError, match=why):
        merge_toml(text, values)


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), TEXTS)
KEYS = st.sampled_from(["a", "b", "c.d", "e f", "g-1", 'h"i'])
TREES = st.recursive(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    lambda below: st.dictionaries(KEYS, below, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, TREES, max_size=4)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_toml_of_any_shape_is_edited_right_or_refused(document, values):
    text = tomlkit.dumps(document)
    try:
        new = merge_toml(text, values)
    except StepFailedError:
        return
    merge = Merge(format="toml", values=values)
    assert tomllib.loads(new) == tomllib.loads(merged(merge, text))
    assert merged(merge, new) == new


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.dictionaries(KEYS, st.one_of(TREES, st.none()), max_size=4))
def test_json_is_merged_to_the_same_bytes(document, values):
    text = json.dumps(document, indent=1)
    assert paths.merge_json(text, values) == merged(Merge(format="json", values=values), text)


def test_json_that_is_broken_is_never_thrown_away():
    for text in ("{", "[1]"):
        with pytest.raises(StepFailedError, match="not"):
            paths.merge_json(text, {"a": 1})


VERSION = r"([0-9]:)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}([~+][a-z0-9]+)?(-[0-9a-z.~]+)?"
WANTED = r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}"


@given(
    st.from_regex(VERSION, fullmatch=True),
    st.one_of(st.none(), st.from_regex(WANTED, fullmatch=True)),
)
def test_versions_are_met_as_the_planner_says(version, wanted):
    assert host_versions.satisfies(version, wanted) == versions.satisfies(version, wanted)
