"""The page of a validation: all is in it, nothing is hidden, nothing gets out."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiprov.checks.coverage import thinned
from aiprov.checks.model import Check, Evidence, Subject
from aiprov.checks.validation import Gpu, HostRun, Series, Validation
from aiprov.report.verdicts import curves, metrics
from aiprov.report.verdicts import page as page_module
from aiprov.report.verdicts.findings import problems
from aiprov.report.verdicts.metrics import ticks
from aiprov.report.verdicts.page import bits, faults, page, visible
from aiprov.report.verdicts.places import fleet
from tests import validations

VOID = {"meta", "link", "br", "input", "img"}
SHAPES = {"line", "circle", "path", "rect", "use", "polyline", "polygon"}


class Seen(HTMLParser):
    """What is on a page: its tags nest, its ids are unique, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids)), "an id is there twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert len(told) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, told))
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told["href"] or ""] if "href" in told else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


EXAMPLE = validations.example()
PAGE = page(EXAMPLE)


def seen(**changes: object) -> Seen:
    return Seen(page(replace(EXAMPLE, **changes)))  # type: ignore[arg-type]


def test_every_link_leads_somewhere_on_the_page():
    found = Seen(PAGE)
    assert {link for link in found.links if not link.startswith("#")} == {"data:,"}
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)


def test_nothing_is_asked_of_a_network():
    addresses = re.sub(r"http://www\.w3\.org/2000/svg", "", PAGE)
    assert not re.search(r"(src|href|action|url\()\s*=?\s*[\"'(]?\s*(https?:)?//", addresses)
    policy = next(
        told["content"] for tag, told in Seen(PAGE).tags
        if tag == "meta" and told.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert (policy or "").startswith("default-src 'none'; ")
    assert "unsafe" not in (policy or "")


def test_what_hosts_say_is_text_and_hides_nothing():
    found = Seen(PAGE)
    assert "<img src=x onerror=alert(2)>" in found.text
    assert [tag for tag, _ in found.tags if tag in ("img", "iframe", "object", "embed")] == []
    assert sum(tag == "script" for tag, _ in found.tags) == 2
    assert "⟨U+202E⟩gnp.exe⟨U+0000⟩" in found.text
    assert not set(PAGE) & {"\u202e", "\x1b", "\x00"}
    assert not [key for _, told in found.tags for key in told if key.startswith("on")]


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_said_the_page_stays_whole(name: str, said: str):
    gpu = Subject(host=name, kind="gpu", id=said, label=said)
    told = Validation(
        campaign=said, started=name, seconds=1.0,
        hosts=(HostRun(host=name, status="failed", message=said, hint=said),),
        checks=(Check(name=name, subject=gpu, error=said, evidence=(Evidence.of(said, said),)),),
        gpus=(Gpu(subject=gpu, model=said),), not_tested=(said,), by_fault={said: 0.5},
        series=(Series(subject=gpu, name=said, unit=name, points=((0.0, 1.0),)),),
    )  # fmt: skip
    made = page(told)
    Seen(made)
    made.encode()


def test_the_verdict_and_what_to_do_come_first():
    found = Seen(PAGE).text
    order = [
        "Failed", "What to do first", "products fp64 B", "gpu02 GPU 3",
        "Take it out of service: it computes", "slowed down by the hardware's heat limit",
        "no answer on port 22", "NOT DONE", "The fleet", "Each dot is a GPU", "What was covered",
        "collectives across hosts: no budget was left", "Hosts, with all checks",
    ]  # fmt: skip
    places = [found.index(words) for words in order]
    assert places == sorted(places)


def test_a_gpu_that_is_bad_in_many_ways_is_one_problem():
    slow = Subject(host="gpu05", kind="gpu", id="1650005000005", label="GPU 5")
    own = [one for one in problems(EXAMPLE) if slow in one.subjects]
    assert [one.what for one in own] == ["health under load"], "its cause, not what follows"
    assert "products bf16 A" in own[0].also
    hung = next(one for one in problems(EXAMPLE) if one.subjects[0].host == "gpu06")
    assert hung.reason.startswith("hung"), "what did not begin follows from what hung"


def test_numbers_thresholds_margins_basis_and_evidence_are_there():
    found = Seen(PAGE).text
    assert "37 at most 0 exact good hardware has none" in found
    assert re.search(r"at least 7\d\d\.\d+ fleet 47 NVIDIA H200 have 77\d", found)
    assert "\N{MINUS SIGN}12." in found
    assert "sm_mhz" in found, "raw evidence"
    assert "SHA-256" in found
    assert "(12, 7), (12, 8) 21, 22" in found, "tiles and bits of a fault"
    assert "71 °C, 1755 MHz, 688.2 W" in found


def test_a_healthy_fleet_says_so_and_what_it_could_not_see():
    found = Seen(page(validations.healthy(2))).text
    assert "Every check that was planned was made, and all are ok." in found
    assert "Nothing is wrong." in found
    assert "InfiniBand: nothing says which ports there should be" in found


@pytest.mark.parametrize("made", [EXAMPLE, validations.healthy(1), replace(EXAMPLE, checks=())])
def test_the_page_says_the_verdict_of_the_validation(made: Validation):
    assert f"<title>{made.verdict}:" in page(made)


def test_a_host_of_which_nothing_came_is_not_ok():
    healthy = validations.healthy(1)
    silent = HostRun(host="gpu99", status="done")
    found = page(replace(healthy, hosts=(*healthy.hosts, silent)))
    assert "<title>not measured:" in found
    assert "It is done, and yet no check came of it." in found


def test_a_self_test_says_that_it_was_one():
    assert "They say nothing of the hardware." in seen(self_test=True).text
    assert "They say nothing of the hardware." not in Seen(PAGE).text


def test_nothing_at_all_is_a_page_too():
    found = seen(hosts=(), checks=(), gpus=(), series=(), coverage=(), by_fault=None).text
    assert "Not measured" in found
    assert "No host was validated." in found
    assert "nothing is known of the fault rate" in found


def test_a_gpu_told_by_its_address_is_the_same_gpu():
    gpu = EXAMPLE.gpus[0]
    lost = Subject(host=gpu.subject.host, kind="gpu", id=gpu.address, label=f"GPU {gpu.address}")
    made = replace(EXAMPLE, checks=(*EXAMPLE.checks, Check(name="there", subject=lost, error="no")))
    host = fleet(made).hosts[0]
    assert len(host.gpus) == 8
    assert host.gpus[0].verdict == "not measured"


def test_a_page_too_large_leaves_out_what_is_ok_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_module, "MOST_ROWS", 500)
    monkeypatch.setattr(page_module, "MOST_CURVES", 2)
    small = page(EXAMPLE)
    found = Seen(small)
    assert len(small) < len(PAGE) / 3
    assert re.search(r"Checks of \d+ parts are left to the JSON document", found.text)
    assert "all of them are ok" in found.text
    assert "Curves of 46 GPUs are left to the JSON document" in found.text
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert sum("aria-label" in told for tag, told in found.tags if tag == "td") == 0
    assert "sm_mhz" in found.text, "the evidence of what is wrong stays"


def test_what_is_wrong_and_left_out_is_said_loudly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_module, "MOST_ROWS", 1)
    assert "2 of them are not ok" in Seen(page(EXAMPLE)).text


def test_a_plot_shows_who_is_outside_by_name_and_where_bounds_come_from():
    whole = fleet(EXAMPLE)
    found = {metric.title: metric for metric in metrics.metrics(whole.places)}
    plot = metrics.plot(found["products bf16 A"])
    outside = [dot for dot in plot.dots if dot.verdict == "failed"]
    assert [str(dot.place.subject) for dot in outside] == ["gpu05 GPU 5"]
    assert outside[0].x < min(line.x for line in plot.lines if line.limit.basis == "fleet")
    assert {line.limit.basis for line in plot.lines} == {"physics", "prior", "fleet"}
    assert all(metrics.LEFT <= dot.x <= metrics.RIGHT for dot in plot.dots)
    assert len(plot.dots) == 47


def test_many_dots_are_one_drawing_and_who_is_outside_is_not_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "MOST_DOTS", 10)
    whole = fleet(EXAMPLE)
    found = {metric.title: metric for metric in metrics.metrics(whole.places)}
    plot = metrics.plot(found["products bf16 A"])
    assert [str(dot.place.subject) for dot in plot.dots] == ["gpu05 GPU 5"]
    assert plot.cloud.startswith("M")


def test_a_curve_that_is_thinned_keeps_its_spikes():
    points = [(float(at), 1.0) for at in range(5000)]
    points[1234] = (1234.0, 99.0)
    points[4321] = (4321.0, -99.0)
    kept = thinned(points, curves.MOST_POINTS)
    assert len(kept) <= curves.MOST_POINTS
    assert {value for _, value in kept} == {1.0, 99.0, -99.0}
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)


def test_throughput_of_all_precisions_is_told_beside_the_fleets():
    whole = fleet(EXAMPLE)
    slow = next(one for one in whole.places if str(one.subject) == "gpu05 GPU 5")
    panel = next(one for one in curves.panels(whole.places, {slow.anchor}) if one.bases)
    made = curves.drawn(panel, slow)
    assert made is not None
    assert {curve.name for curve in made.curves} >= {"throughput bf16", "throughput int8"}
    assert panel.values[0] < 86 < 100 < panel.values[1]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 1e-9), (1e9, 1.0001e9), (5, 5)])
def test_ticks_are_round_and_inside(low: float, high: float):
    found = ticks(low, high, 4)
    assert found
    assert len(found) <= 6
    assert all(low <= value <= high for value in found)


def test_evidence_that_is_no_fault_is_left_as_it_is():
    said = ("{", "[]", '{"event": "telemetry"}', '{"elements": 3, "tiles": [1]}', "null")
    made = [Evidence.of("payload", text) for text in said]
    assert len(faults(made)) == 1
    assert faults([Evidence.of("dmesg", '{"what": "product"}')]) == []


def test_bits_are_numbered():
    assert bits(["0000000000400000", "0000000000600000"]) == "21, 22"
    assert bits(["x", ""]) == ""
    assert bits(["f" * 16]).endswith("and 52 more")


def test_visible_keeps_what_is_no_trick():
    assert visible("plain\n\ttext — ünïcode") == "plain\n\ttext — ünïcode"
    assert visible("a\udc80b") == "a⟨U+DC80⟩b"


def test_a_large_fleet_is_a_page_that_can_be_opened():
    """300 hosts of 8 GPUs, cloned from a few: what grows is the map and the margins."""
    few = validations.healthy(6)

    def at(subject: Subject, number: int) -> Subject:
        host = f"{subject.host}-{number:03d}"
        return replace(subject, host=host, id=f"{subject.id}{number}" if subject.id else "")

    many = range(50)
    made = replace(
        few,
        hosts=tuple(replace(one, host=f"{one.host}-{n:03d}") for n in many for one in few.hosts),
        checks=tuple(replace(one, subject=at(one.subject, n)) for n in many for one in few.checks),
        gpus=tuple(replace(one, subject=at(one.subject, n)) for n in many for one in few.gpus),
        series=(), coverage=(),
    )  # fmt: skip
    text = page(made)
    assert len(text) < 6_500_000
    assert text.count('<td class="g k">') == 2400
