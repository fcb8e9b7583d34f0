"""The page of a validation in a headless Chromium: as people and their printers see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiprov.report.verdicts.page import page
from tests import validations
from tests.browser import Browser, browser

OVERFLOWING = """
const width = document.documentElement.clientWidth;
const clipped = (part) => {
  for (let up = part.parentElement; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible") return true;
  return false;
};
return [...document.querySelectorAll("body *")]
  .filter((part) => part.getBoundingClientRect().right > width + 1 && !clipped(part))
  .filter((part) => part.getBoundingClientRect().width > 1 && !part.closest(".skip"))
  .map((part) => part.outerHTML.slice(0, 120));
"""

CONTRAST = """
const channel = (value) =>
  (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (part) => {
  for (; part; part = part.parentElement) {
    const found = parse(getComputedStyle(part).backgroundColor);
    if (found.length === 3 || found[3] > 0.99) return found;
  }
  return [255, 255, 255];
};
const seen = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const part = node.parentElement;
  const left = part.closest("script, style, svg, .unseen, .skip, option, select");
  if (left || !node.data.trim()) continue;
  const [one, other] = [light(parse(getComputedStyle(part).color)), light(behind(part))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) seen.set(part.tagName + "." + part.className, [ratio, node.data.trim()]);
}
return [...seen].map(String);
"""

UNNAMED = """
const bad = [];
for (const part of document.querySelectorAll("a, button, input, select, summary, [role=region]")) {
  const label = part.labels && part.labels.length ? part.labels[0].textContent : "";
  if (!(part.getAttribute("aria-label") || part.textContent.trim() || label.trim()))
    bad.push(part.outerHTML.slice(0, 100));
}
for (const part of document.querySelectorAll("svg:not([aria-hidden=true])"))
  if (!part.getAttribute("aria-label")) bad.push("svg");
for (const part of document.querySelectorAll("table"))
  if (!part.querySelector("th[scope]")) bad.push("a table without headers");
for (const part of document.querySelectorAll("[aria-labelledby]"))
  if (!document.getElementById(part.getAttribute("aria-labelledby"))) bad.push(part.id);
for (const wanted of ["main", "header", "nav[aria-label]", "footer", "h1", "html[lang]"])
  if (document.querySelectorAll(wanted).length !== 1) bad.push(wanted);
const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((part) => +part.tagName[1]);
if (levels.some((level, n) => n && level > levels[n - 1] + 1)) bad.push("a heading is skipped");
return bad;
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page") / "report.html"
    made.write_text(page(validations.example()), encoding="utf-8")
    return made


def asked(chromium: Browser) -> set[str]:
    """Addresses that were asked for since this was called last."""
    messages = [json.loads(entry["message"])["message"] for entry in chromium.log("performance")]
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }


def test_it_loads_nothing_but_itself_and_says_nothing_on_the_console(
    chromium: Browser, example: Path
):
    asked(chromium)
    chromium.log("browser")
    chromium.look()
    chromium.open(example)
    assert {url for url in asked(chromium) if not url.startswith("data:")} == {example.as_uri()}
    assert chromium.log("browser") == []
    assert chromium.run("return document.querySelectorAll('img, iframe, object').length") == 0


def test_its_policy_stops_what_is_not_its_own(chromium: Browser, example: Path, tmp_path: Path):
    text = example.read_text(encoding="utf-8")
    hurt = tmp_path / "hurt.html"
    bad = "<script>document.title = 'owned'</script><img src='https://example.org/x.png'>"
    hurt.write_text(text.replace("<footer>", f"{bad}<footer>"), encoding="utf-8")
    chromium.open(hurt)
    assert chromium.run("return document.title").startswith("failed:")
    refused = [entry["message"] for entry in chromium.log("browser")]
    assert sum("Content Security Policy" in message for message in refused) == 2
    asked(chromium)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(chromium: Browser, example: Path, scheme: str):
    chromium.look(prefers_color_scheme=scheme)
    chromium.open(example)
    chromium.run("document.querySelectorAll('details').forEach((part) => { part.open = true; });")
    paper = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert chromium.run(CONTRAST) == []
    ticks = chromium.run("return getComputedStyle(document.querySelector('svg.defs text')).fill")
    assert ticks != "rgb(0, 0, 0)"


@pytest.mark.parametrize("width", [1280, 768, 400, 320])
def test_nothing_overflows(chromium: Browser, example: Path, width: int):
    chromium.look(width=width, height=800)
    chromium.open(example)
    chromium.run("document.querySelectorAll('details').forEach((part) => { part.open = true; });")
    assert chromium.run(OVERFLOWING) == []
    assert chromium.run("return document.documentElement.scrollWidth") <= width


def test_a_screen_reader_finds_its_way(chromium: Browser, example: Path):
    chromium.look()
    chromium.open(example)
    assert chromium.run(UNNAMED) == []


def test_the_map_can_be_coloured_by_the_margin_of_a_metric(chromium: Browser, example: Path):
    chromium.look()
    chromium.open(example)
    before = chromium.run("return document.querySelector('table.map').innerHTML")
    chosen = (
        "const list = document.getElementById('colour');"
        "list.value = [...list.options].find((one) => one.textContent === arguments[0]).value;"
        "list.dispatchEvent(new Event('change'));"
        "return [...document.querySelectorAll('td.g.m0')].map((one) => one.textContent);"
    )
    assert chromium.run(chosen, "margin of products bf16 A") == ["\N{MINUS SIGN}12"]
    assert chromium.run("return document.querySelectorAll('td.g.mx').length") == 1
    assert chromium.run(chosen, "verdict") == []
    after = chromium.run("return document.querySelector('table.map').innerHTML")
    assert after.replace(' title=""', "") == before


def test_a_link_opens_what_it_leads_to(chromium: Browser, example: Path):
    chromium.look()
    chromium.open(example)
    opened = chromium.run(
        "const link = document.querySelector('td.g.k a'); link.click();"
        "return new Promise((done) => setTimeout(() => {"
        "  const part = document.querySelector(link.getAttribute('href'));"
        "  done([part.open, part.closest('.host').open]);"
        "}, 300));"
    )
    assert opened == [True, True]


def test_hosts_can_be_found(chromium: Browser, example: Path):
    chromium.look()
    chromium.open(example)
    shown = (
        "const field = document.getElementById('search'); field.value = arguments[0];"
        "field.dispatchEvent(new Event('input'));"
        "return [...document.querySelectorAll('details.host:not([hidden])')]"
        ".map((one) => one.dataset.host);"
    )
    assert chromium.run(shown, "GPU05") == ["gpu05"]
    assert len(chromium.run(shown, "")) == 8


def test_curves_are_read_by_arrow_keys(chromium: Browser, example: Path):
    chromium.look()
    chromium.open(example)
    told = chromium.run(
        "const svg = document.querySelector('details[open] .curve svg'); svg.focus();"
        "for (const key of ['Home', 'ArrowRight', 'ArrowRight'])"
        "  svg.dispatchEvent(new KeyboardEvent('keydown', { key }));"
        "return svg.closest('figure').querySelector('.read').textContent;"
    )
    assert "min: temperature" in told
    assert told.endswith(" C")


def test_it_is_printed_with_the_evidence_of_what_is_not_ok(chromium: Browser, example: Path):
    chromium.look()
    chromium.open(example)
    assert chromium.printed().startswith(b"%PDF-")
    chromium.look(media="print", prefers_color_scheme="dark")
    printed = chromium.run(
        "dispatchEvent(new Event('beforeprint'));"
        "const of = (where) => [...document.querySelectorAll(where)];"
        "const shown = (part) => part.checkVisibility();"
        "const told = [of('.bad .evidence pre').every(shown),"
        "  of('.bad .evidence pre').length, of('nav').some(shown),"
        "  getComputedStyle(document.body).backgroundColor];"
        "dispatchEvent(new Event('afterprint')); return told;"
    )
    assert printed == [True, 4, False, "rgb(255, 255, 255)"]


def test_it_is_whole_without_javascript(chromium: Browser, example: Path):
    chromium.tools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.look()
        chromium.open(example)
        tree = chromium.tools("DOMSnapshot.captureSnapshot", computedStyles=[])
        said = " ".join(tree["strings"])
    finally:
        chromium.tools("Emulation.setScriptExecutionDisabled", value=False)
    assert "Take it out of service" in said
    assert "(12, 7), (12, 8)" in said
