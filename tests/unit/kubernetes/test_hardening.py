"""What hardens an API server: each file as the version's API has it, and what it lets through."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from aiprov.kubernetes import hardening
from aiprov.resources import Secret

KEY = Secret(f"{'A' * 43}=")


def audited(rules: list[dict[str, Any]], user: str, groups: list[str], verb: str, what: str) -> str:
    """The level of a request by the first rule that matches, as the API server decides.

    kubernetes staging/src/k8s.io/apiserver/pkg/audit/policy/checker.go (read 2026-11-21).
    """
    resource, _, group = what.partition(".")
    for rule in rules:
        if "nonResourceURLs" in rule:
            if what.startswith("/") and any(
                what == url or (url.endswith("*") and what.startswith(url[:-1]))
                for url in rule["nonResourceURLs"]
            ):
                return str(rule["level"])
            continue
        if "users" in rule and user not in rule["users"]:
            continue
        if "userGroups" in rule and not set(groups) & set(rule["userGroups"]):
            continue
        if "verbs" in rule and verb not in rule["verbs"]:
            continue
        if "resources" in rule and not any(
            group == one["group"] and resource in one["resources"] for one in rule["resources"]
        ):
            continue
        return str(rule["level"])
    return "None"


PEOPLE = ("jane", ["dev"])
KUBELET = ("system:node:w1", ["system:nodes"])
CONTROLLER = ("system:kube-controller-manager", [])


@pytest.mark.parametrize(
    ("who", "verb", "what", "level"),
    [
        (PEOPLE, "create", "pods", "Metadata"),
        (PEOPLE, "get", "pods", "Metadata"),
        (PEOPLE, "get", "secrets", "Metadata"),
        (KUBELET, "get", "secrets", "Metadata"),
        (CONTROLLER, "list", "secrets", "Metadata"),
        (KUBELET, "watch", "pods", "None"),
        (KUBELET, "patch", "nodes", "Metadata"),
        (CONTROLLER, "list", "pods", "None"),
        (CONTROLLER, "update", "deployments.apps", "Metadata"),
        (KUBELET, "update", "leases.coordination.k8s.io", "None"),
        (PEOPLE, "create", "events", "None"),
        (PEOPLE, "get", "/livez", "None"),
        (PEOPLE, "get", "/metrics", "Metadata"),
    ],
)
def test_who_did_what_is_logged_and_the_clusters_own_reads_are_not(
    who: tuple[str, list[str]], verb: str, what: str, level: str
):
    policy = yaml.safe_load(hardening.audit_policy())
    assert audited(policy["rules"], *who, verb, what) == level


def test_contents_are_never_logged():
    policy = yaml.safe_load(hardening.audit_policy())
    assert {rule["level"] for rule in policy["rules"]} == {"None", "Metadata"}


def test_the_users_rules_replace_ours():
    rules = [{"level": "RequestResponse"}]
    assert yaml.safe_load(hardening.audit_policy(rules))["rules"] == rules


def test_what_was_written_in_the_open_stays_readable():
    made = hardening.encryption(KEY, ["secrets", "configmaps"])
    assert KEY.reveal() not in repr(made)
    assert made.hidden() == (KEY.reveal(),)
    (one,) = yaml.safe_load(made.reveal())["resources"]
    assert one["resources"] == ["secrets", "configmaps"]
    assert [next(iter(provider)) for provider in one["providers"]] == ["secretbox", "identity"]


@pytest.mark.parametrize(
    ("version", "api"),
    [("1.22.1", None), ("1.23.0", "v1beta1"), ("1.25.0", "v1"), ("1.37.0", "v1")],
)
def test_pod_security_is_of_the_versions_api(version: str, api: str | None):
    made = hardening.admission(version, enforce="baseline", report="restricted", exempt=["kube-x"])
    if api is None:
        assert made is None
        return
    (plugin,) = yaml.safe_load(made or "")["plugins"]
    found = plugin["configuration"]
    assert found["apiVersion"] == f"pod-security.admission.config.k8s.io/{api}"
    assert found["defaults"]["enforce"] == "baseline"
    assert found["defaults"]["warn"] == found["defaults"]["audit"] == "restricted"
    assert found["exemptions"]["namespaces"] == ["kube-x"]


@pytest.mark.parametrize(
    ("version", "api"), [("1.31.4", None), ("1.32.0", "v1beta1"), ("1.34.0", "v1")]
)
def test_anonymous_requests_reach_what_probes_and_joins_read(version: str, api: str | None):
    made = hardening.authentication(version)
    if api is None:
        assert made is None
        return
    found = yaml.safe_load(made or "")
    assert found["apiVersion"] == f"apiserver.config.k8s.io/{api}"
    paths = [condition["path"] for condition in found["anonymous"]["conditions"]]
    assert "/readyz" in paths
    assert "/api/v1/namespaces/kube-public/configmaps/cluster-info" in paths
    assert not [path for path in paths if path.endswith("*") or path == "/"]
