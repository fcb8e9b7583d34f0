"""Verdicts as JUnit XML: a suite a host, a case a check. Not measured is an error, not a skip."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from aiprov.checks.model import Check
from aiprov.checks.validation import Action, HostRun, Validation
from aiprov.report.junit import printable


def junit(validation: Validation) -> str:
    """The validation as JUnit XML.

    A host that is not done is an error of its own, and so is a run without any check. An action
    that could not be done is an error as well.
    """
    root = ET.Element("testsuites", name="aiprov validate")
    by_host: dict[str, list[Check]] = {host.host: [] for host in validation.hosts}
    for check in sorted(validation.checks, key=lambda check: (check.subject, check.name)):
        by_host.setdefault(check.subject.host, []).append(check)
    late = {host.host: host for host in validation.not_done}
    actions: dict[str, list[Action]] = {}
    for action in validation.actions:
        actions.setdefault(action.host, []).append(action)
    for host in sorted(set(by_host) | set(actions)):
        cases = [_case(check) for check in by_host.get(host, ())]
        if host in late:
            cases.append(_host(late[host]))
        cases += [_action(action) for action in actions.get(host, ())]
        if not cases:
            cases.append(_nothing(host))
        root.append(_suite(host, cases, validation.started))
    if not validation.hosts and not by_host:
        root.append(_suite("no host", [_nothing("no host")], validation.started))
    ET.indent(root)
    return printable(ET.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def _suite(name: str, cases: list[ET.Element], started: str) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=name,
        timestamp=started,
        time=f"{sum(float(case.get('time', 0)) for case in cases):g}",
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped="0",
    )
    suite.extend(cases)
    return suite


def _case(check: Check) -> ET.Element:
    subject = check.subject
    own = subject.label or subject.id
    case = ET.Element(
        "testcase",
        classname=f"{subject.host}.{own}" if own else subject.host,
        name=check.name,
        time=f"{check.seconds:g}",
    )
    if check.verdict != "ok":
        kind = "failure" if check.verdict == "failed" else "error"
        ET.SubElement(case, kind, message=check.why[0]).text = "\n".join(check.why)
    if check.evidence:
        said = "\n".join(f"{item.source}: {item.text}" for item in check.evidence)
        ET.SubElement(case, "system-out").text = said
    return case


def _host(host: HostRun) -> ET.Element:
    case = ET.Element("testcase", classname=host.host, name="host", time=f"{host.seconds:g}")
    told = f"{host.status}: {host.message or 'no reason is told'}"
    ET.SubElement(case, "error", message=told).text = f"{told}\n{host.hint}" if host.hint else told
    return case


def _action(action: Action) -> ET.Element:
    case = ET.Element("testcase", classname=action.host, name=f"action {action.kind}", time="0")
    if not action.done:
        told = f"{action.kind} was not done: {action.message or 'no reason is told'}"
        ET.SubElement(case, "error", message=told)
    return case


def _nothing(host: str) -> ET.Element:
    case = ET.Element("testcase", classname=host, name="validation", time="0")
    ET.SubElement(case, "error", message="nothing was measured")
    return case
