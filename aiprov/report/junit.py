"""A run document as JUnit XML: a suite a host, a case a change, for CI systems that show such."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, not even escaped: hosts say such things to colour a line."""


def junit(document: dict[str, Any]) -> str:
    """The document as JUnit XML. Pending changes and failures are failures, by their address."""
    root = ET.Element("testsuites", name=f"aiprov {document['verb']}")
    for name, host in document["hosts"].items():
        root.append(_suite(name, host, document["started"]))
    ET.indent(root)
    return printable(ET.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def printable(text: str) -> str:
    """The text without what no XML document may hold."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _suite(name: str, host: dict[str, Any], started: str) -> ET.Element:
    cases = [_outcome_case(name, outcome) for outcome in host["outcomes"]]
    if host["status"] == "pending":
        cases += [_pending_case(name, change) for change in _pending(host)]
    if host["error"]:
        cases.append(_error_case(name, host))
    if not cases:
        cases.append(ET.Element("testcase", classname=name, name="as wanted"))
    suite = ET.Element(
        "testsuite",
        name=name,
        timestamp=started,
        time=str(host["seconds"]),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
    )
    suite.extend(cases)
    return suite


def _pending(host: dict[str, Any]) -> list[dict[str, Any]]:
    return [change for stage in host["plan"]["stages"] for change in stage.get("changes", ())]


def _outcome_case(host: str, outcome: dict[str, Any]) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=f"{host}.{outcome['role']}",
        name=outcome["address"],
        time=str(outcome["seconds"]),
    )
    if outcome["status"] == "failed":
        ET.SubElement(case, "failure", message=_first_line(outcome["message"])).text = outcome[
            "message"
        ]
    elif outcome["status"] == "not run":
        ET.SubElement(case, "skipped", message="a change before it failed")
    return case


def _pending_case(host: str, change: dict[str, Any]) -> ET.Element:
    case = ET.Element("testcase", classname=f"{host}.{change['role']}", name=change["address"])
    ET.SubElement(case, "failure", message=change["reason"]).text = change["diff"] or ""
    return case


def _error_case(name: str, host: dict[str, Any]) -> ET.Element:
    case = ET.Element("testcase", classname=name, name=host["status"])
    text = host["error"]["message"]
    ET.SubElement(case, "error", message=_first_line(text)).text = text
    return case


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
