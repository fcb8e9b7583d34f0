"""Who is taken out of service, why, and when nobody is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiprov.actions import deciding
from aiprov.actions.deciding import decide
from aiprov.actions.model import Decision, Limit, Policy
from aiprov.catalog.xids import actions, xids
from aiprov.checks import kernel_log
from aiprov.checks.model import Bound, Subject
from aiprov.errors import UsageError
from tests.unit.actions.validations import check, fleet, gpu, validation

DRAIN = Policy(action="slurm", limit=Limit(share=1.0))
MIXED = validation(a="failed", b="unmeasured", c="unreachable", d="ok")


def acting(decisions: tuple[Decision, ...]) -> list[str]:
    return [one.host for one in decisions if one.acts]


def test_by_itself_nothing_is_done_to_anybody():
    decisions = decide(MIXED, Policy())
    assert [one.host for one in decisions] == ["a", "b", "c"], "and each that is not ok is told"
    assert acting(decisions) == []


def test_what_failed_is_acted_on_and_what_was_not_measured_only_when_asked():
    decisions = decide(MIXED, DRAIN)
    assert acting(decisions) == ["a"]
    assert all("--act-on-not-measured" in one.hint for one in decisions[1:])
    assert acting(decide(MIXED, replace(DRAIN, on_not_measured=True))) == ["a", "b", "c"]


def test_a_host_that_is_ok_is_never_decided_about():
    assert decide(validation(a="ok", b="ok"), DRAIN) == ()


def test_the_worst_gpu_is_named_with_its_finding():
    (one,) = decide(validation(a="failed"), DRAIN)
    assert one.subject == "GPU 1"
    assert one.reason.startswith("GPU 1: products: 3, must be at most 0")
    assert one.verdict == "failed"


def test_a_host_without_any_check_says_why():
    one = decide(MIXED, DRAIN)[2]
    assert (one.host, one.verdict, one.reason) == (
        "c",
        "not measured",
        "unreachable: no route to host",
    )


@pytest.mark.parametrize(
    ("bad", "of", "limit", "acts"),
    [
        (1, 3, "10%", 1),  # at least one
        (2, 3, "10%", 0),
        (2, 20, "10%", 2),
        (3, 20, "10%", 0),
        (3, 20, "15%", 3),
        (3, 30, "10%", 3),  # a tenth of thirty is three, whatever the float says
        (20, 20, "10%", 0),  # a bad validator
        (20, 20, "100%", 20),
        (3, 20, "3", 3),
        (3, 20, "2", 0),
        (1, 20, "0", 0),
        (1, 20, "0%", 0),
    ],
)
def test_never_more_of_a_fleet_than_the_limit(bad: int, of: int, limit: str, acts: int):
    decisions = decide(fleet(bad, of), Policy(action="slurm", limit=Limit.of(limit)))
    assert len(acting(decisions)) == acts
    if not acts:
        assert f"{bad} of {of} hosts" in decisions[0].refusal
        assert f"--action-limit {bad}" in decisions[0].hint


def test_a_part_of_the_fleet_is_measured_by_the_whole():
    found = fleet(3, 4)
    assert acting(decide(found, Policy(action="slurm"))) == []
    assert acting(decide(found, Policy(action="slurm"), fleet=40)) == ["g00", "g01", "g02"]


def test_those_that_are_out_already_count():
    policy, found = Policy(action="slurm"), fleet(2, 2)
    assert acting(decide(found, policy, fleet=40, held=["x1", "x2"])) == ["g00", "g01"]
    refused = decide(found, policy, fleet=40, held=["x1", "x2", "x3"])
    assert acting(refused) == []
    assert "beside the 3" in refused[0].refusal
    assert "--action-limit 5" in refused[0].hint


def test_to_act_on_the_same_again_is_not_more():
    policy = Policy(action="slurm", limit=Limit(hosts=1))
    assert acting(decide(fleet(2, 9), policy, held=["g00", "g01"])) == ["g00", "g01"]
    again = decide(fleet(3, 9), policy, held=["g00", "g01"])
    assert acting(again) == ["g00", "g01"], "only the one that is new is refused"


def test_a_self_test_takes_nobody_out():
    found = validation(self_test=True, a="failed", b="unmeasured")
    decisions = decide(found, replace(DRAIN, on_not_measured=True))
    assert acting(decisions) == []
    assert all("self-test" in one.refusal for one in decisions)


@pytest.mark.parametrize("text", ["", "ten", "110%", "-1", "-5%", "nan%", "1.5"])
def test_a_limit_that_is_none(text: str):
    with pytest.raises(UsageError) as caught:
        Limit.of(text)
    assert caught.value.hint


# ---------------------------------------------------------------- the way out

XIDS = [
    (31, "restart the application"),
    (48, "reset the GPU"),
    (79, "reboot"),
    (119, "reset the GPU"),
]


@pytest.mark.parametrize(("code", "step"), XIDS)
def test_an_xid_says_what_to_do(code: int, step: str):
    log = f"[ 12.5] NVRM: Xid (PCI:0000:3b:00): {code}, pid=1, name=python3, something"
    seen = kernel_log.check(gpu("a"), log, addresses=["0000:3b:00.0"], under_load=True)
    found = replace(validation(a="ok"), checks=(seen,))
    (one,) = decide(found, DRAIN)
    assert one.remedy.step == step, one.remedy
    assert one.remedy.name == xids()[code].action
    assert one.remedy.text == actions()[one.remedy.name].text


def test_every_action_of_the_catalog_comes_to_a_step():
    assert set(deciding._STEPS) == set(actions())


def test_of_several_findings_the_heaviest_remedy_counts():
    checks = (
        check(gpu("a", 0), 1, name="x", action="RESTART_APP"),
        check(gpu("a", 1), 1, name="y", action="RESTART_BM"),
        check(gpu("a", 2), 1, name="z", action="RESET_GPU"),
    )
    (one,) = decide(replace(validation(a="ok"), checks=checks), DRAIN)
    assert (one.subject, one.remedy.step) == ("GPU 1", "reboot")
    assert len(one.findings) == 3


def test_wrong_results_are_the_vendors():
    (one,) = decide(validation(a="failed"), DRAIN)
    assert one.remedy.step == "contact support"


def test_what_no_rule_speaks_of_is_examined():
    slow = Bound(relation="at least", value=700.0, basis="fleet")
    subject = Subject(host="a", kind="link", id="a-b", label="NVLink 3")
    for about in (gpu("a"), subject):
        found = replace(validation(a="ok"), checks=(check(about, 600.0, bound=slow),))
        assert decide(found, DRAIN)[0].remedy.step == "examine"


def test_an_action_that_the_catalog_does_not_have_is_told_by_its_name():
    found = replace(validation(a="ok"), checks=(check(gpu("a"), 1, action="NEW_ACTION"),))
    assert decide(found, DRAIN)[0].remedy.name == "NEW_ACTION"


def test_a_reason_is_one_line_whatever_a_host_says():
    said = "a\nb\x1b[31m\tc " + "x" * 500
    found = replace(validation(a="ok"), checks=(replace(check(gpu("a"), 1, name=said)),))
    reason = decide(found, DRAIN)[0].reason
    assert reason.startswith("GPU 0: a b [31m c xxx")
    assert len(reason) == deciding.MOST_LETTERS
