"""The JSON schema of a validation: what is written fits it, it knows every property, it refuses."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

import aiprov.report.verdicts
from aiprov.checks import model, validation
from aiprov.checks.validation import Validation, from_document
from tests import validations

SCHEMA = json.loads((Path(aiprov.report.verdicts.__file__).parent / "schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FULL = validations.example()
SMALL = replace(
    FULL,
    checks=tuple(check for check in FULL.checks if check.subject.label in ("GPU 1", "GPU 3")),
    series=FULL.series[:1],
)
EXAMPLE: dict[str, Any] = json.loads(json.dumps(SMALL.document))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "made",
    [
        FULL, validations.healthy(1), replace(FULL, self_test=True),
        Validation(campaign="", started="2026-11-21T00:00:00Z", seconds=0, hosts=(), checks=()),
    ],
    ids=["example", "healthy", "self-test", "nothing"],
)  # fmt: skip
def test_what_is_written_fits_and_can_be_read(made: Validation):
    document = json.loads(json.dumps(made.document, allow_nan=False))
    VALIDATOR.validate(document)
    assert from_document(document).document == made.document


def kind_of(name: str) -> dict[str, Any]:
    found = SCHEMA["properties"][name]["items"]
    return SCHEMA["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (SCHEMA["$defs"]["subject"], model.Subject),
        (SCHEMA["$defs"]["check"]["properties"]["evidence"]["items"], model.Evidence),
        (SCHEMA["$defs"]["measurement"]["properties"]["bounds"]["items"], model.Bound),
        (kind_of("hosts"), validation.HostRun),
        (kind_of("gpus"), validation.Gpu),
        (kind_of("series"), validation.Series),
        (kind_of("coverage"), validation.Coverage),
        (kind_of("actions"), validation.Action),
    ],
)
def test_it_has_all_fields(schema: dict[str, Any], kind: type):
    names = {field.name for field in fields(kind)}
    assert set(schema["properties"]) == names
    assert set(schema["required"]) == names


def test_it_has_all_properties_of_a_document_and_of_its_checks():
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == set(EXAMPLE)
    check = SCHEMA["$defs"]["check"]
    assert set(check["properties"]) == set(check["required"]) == set(EXAMPLE["checks"][0])
    item = SCHEMA["$defs"]["measurement"]
    written = EXAMPLE["checks"][0]["measurements"][0]
    assert set(item["properties"]) == set(item["required"]) == set(written)


def test_its_words_are_those_of_the_model():
    bound = SCHEMA["$defs"]["measurement"]["properties"]["bounds"]["items"]["properties"]
    assert tuple(SCHEMA["$defs"]["verdict"]["enum"]) == get_args(model.Verdict)
    assert tuple(bound["basis"]["enum"]) == get_args(model.Basis)
    assert tuple(bound["relation"]["enum"]) == get_args(model.Relation)
    assert tuple(SCHEMA["$defs"]["subject"]["properties"]["kind"]["enum"]) == get_args(
        model.SubjectKind
    )
    assert tuple(kind_of("hosts")["properties"]["status"]["enum"]) == get_args(
        validation.HostStatus
    )


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told.pop(name)


def first(verdict: str, told: dict[str, Any]) -> dict[str, Any]:
    return next(check for check in told["checks"] if check["verdict"] == verdict)


@pytest.mark.parametrize(
    "harm",
    [
        *(without(name) for name in SCHEMA["required"]),
        lambda told: told.update(format_version="2.0"),
        lambda told: told.update(verdict="passed"),
        lambda told: told["hosts"][0].update(status="fine"),
        lambda told: told["coverage"][0].update(detection=1.5),
        lambda told: told["coverage"][0].update(products=-1),
        lambda told: told["series"][0]["points"].append([1.0]),
        lambda told: first("ok", told).update(error="it crashed"),
        lambda told: first("failed", told).update(why=[]),
        lambda told: first("ok", told)["measurements"][0].update(value=None),
        lambda told: first("failed", told)["evidence"].append({"source": "x"}),
        lambda told: told["actions"][0].update(done="yes"),
    ],
)
def test_what_is_wrong_is_refused(harm: Callable[[dict[str, Any]], None]):
    told = copy.deepcopy(EXAMPLE)
    harm(told)
    assert not VALIDATOR.is_valid(told)
