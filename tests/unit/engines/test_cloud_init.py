"""What is rendered for a first boot: in order, and the same every time.

Whether cloud-init accepts it is asked of cloud-init itself, on lab hosts.
"""

from __future__ import annotations

import gzip
import json
import os
from datetime import date
from pathlib import Path

import pytest
import yaml

from aiprov.engines.cloud_init import gzipped, size_report, unsupported
from aiprov.engines.cloud_init.image import pristine
from aiprov.errors import UnsupportedError, UsageError
from aiprov.resources import (
    Command,
    File,
    Group,
    KernelModule,
    Merge,
    Package,
    PathExists,
    Secret,
    address,
)
from tests.unit.engines.cloud_configs import (
    DAEMON,
    EVERY,
    REPOSITORIES,
    every_kind,
    files,
    image,
    rendered,
)

DATA = Path(__file__).parents[2] / "data" / "cloud-init"

CASES = [
    pytest.param(family, resource, id=f"{family}-{address(resource)}")
    for family, resources in EVERY.items()
    for resource in resources
]


def readable(text):
    """The document as a person would compare it: steps parsed, the program's text left out."""
    document = yaml.safe_load(text)
    for entry in document["write_files"]:
        if entry["path"].endswith(".steps.json"):
            entry["content"] = json.loads(entry["content"])
        elif entry["path"].endswith(".py"):
            entry["content"] = "…"
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


# ---------------------------------------------------------------- the document


@pytest.mark.parametrize("family", EVERY)
def test_golden(family):
    golden = DATA / f"every-kind-{family}.json"
    found = readable(rendered(EVERY[family], image(family)))
    if os.environ.get("REGENERATE"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_the_same_every_time_and_a_cloud_config_by_its_first_line():
    first, second = (rendered(every_kind("debian")) for _ in range(2))
    assert first == second
    assert first.startswith("#cloud-config\n")


def test_texts_survive_yaml():
    texts = [
        "",
        "a",
        "a\n",
        "  indented\n",
        "tab\t \n",
        "x: y\n# no\n",
        "ümläut\u2028\n",
        "yes",
        "\n\n",
    ]
    wanted = [File(path=f"/etc/t{number}", content=text) for number, text in enumerate(texts)]
    written = files(rendered(wanted))
    assert [written[item.path]["content"] for item in wanted] == texts


def test_what_is_run_are_lists_not_shell():
    document = yaml.safe_load(rendered(EVERY["debian"]))
    assert all(isinstance(item, list) for item in document["runcmd"])
    assert isinstance(document["power_state"]["condition"], list)


def test_no_reboot_no_power_state():
    assert "power_state" not in yaml.safe_load(rendered([Group(name="crew")]))


def test_steps_can_be_read_by_root_alone():
    written = files(rendered([Group(name="crew")]))
    assert written["/var/lib/aiprov/first-boot.steps.json"]["permissions"] == "0600"


@pytest.mark.parametrize(
    ("facts", "python"),
    [
        (image(), "/usr/bin/python3"),
        (image("redhat", "9.6"), "/usr/bin/python3"),
        (image("redhat", "8.10"), "/usr/libexec/platform-python"),
    ],
)
def test_it_runs_on_the_python_that_the_image_has(facts, python):
    text = rendered([Group(name="crew")], facts)
    assert yaml.safe_load(text)["runcmd"][1][0] == python
    assert (
        f"ExecStart={python} "
        in files(text)["/etc/systemd/system/aiprov-first-boot.service"]["content"]
    )


# ---------------------------------------------------------------- what cannot be said


SECRETS = [
    File(path="/etc/token", content=Secret("hush-7")),
    File(path=DAEMON, content=Merge(format="json", values={"a": [{"b": Secret("hush-7")}]})),
    Command(name="c", argv=("c",), unless=PathExists(path="/x"), stdin=Secret("hush-7")),
]


@pytest.mark.parametrize("resource", SECRETS, ids=address)
def test_secrets_are_refused_unless_allowed(resource):
    with pytest.raises(UnsupportedError, match="in the clear") as caught:
        rendered([resource])
    assert "--allow-secrets" in caught.value.hint
    assert "hush" not in str(caught.value)
    assert "hush-7" in rendered([resource], allow_secrets=True)


@pytest.mark.parametrize(
    ("resource", "family", "why"),
    [
        (REPOSITORIES["redhat"], "debian", "no dnf"),
        (REPOSITORIES["debian"], "redhat", "no apt"),
        (File(path="/var/lib/aiprov/x", content=""), "debian", "belongs to the first boot"),
        (
            File(path="/a", content=Merge(format="toml", values={"a": {"b": date(2026, 1, 1)}})),
            "debian",
            "a.b has no form",
        ),
    ],
)
def test_what_it_cannot_express_is_said_with_its_address(resource, family, why):
    assert why in unsupported(resource, family=family)
    with pytest.raises(UnsupportedError) as caught:
        rendered([resource], image(family))
    assert str(caught.value).startswith(address(resource))


@pytest.mark.parametrize(("family", "resource"), CASES)
def test_every_kind_can_be_expressed(family, resource):
    assert unsupported(resource, family=family) is None


# ---------------------------------------------------------------- the image


def test_an_image_is_known_by_its_os():
    facts = pristine("debian-12", "aarch64", name="gpu1")
    assert (facts.os_codename, facts.family, facts.deb_architecture) == (
        "bookworm",
        "debian",
        "arm64",
    )
    assert pristine("rocky-9.6", "x86_64", name="gpu1").os_major == "9"


@pytest.mark.parametrize(
    ("system", "error"), [("debian", UsageError), ("beos-5", UnsupportedError)]
)
def test_an_unknown_image_is_said(system, error):
    with pytest.raises(error):
        pristine(system, "x86_64", name="gpu1")


# ---------------------------------------------------------------- size


def test_every_kind_fits_into_ec2_when_gzipped():
    text = rendered(EVERY["debian"])
    report = size_report(text)
    assert report.plain == len(text.encode())
    assert not report.fits
    assert report.fits_gzipped
    assert "use --gzip" in str(report)
    assert gzip.decompress(gzipped(text)).decode() == text
    assert gzipped(text) == gzipped(text)


def test_too_large_is_said():
    noise = "".join(str(hash((number, "x"))) for number in range(3000))
    report = size_report(rendered([File(path="/etc/noise", content=noise)]))
    assert not report.fits_gzipped
    assert "too large" in str(report)


def test_small_enough_is_said():
    assert str(size_report("#cloud-config\n")).endswith("EC2 takes 16384")


def test_only_what_the_steps_need_travels():
    def travels(*wanted, facts=None):
        found = files(rendered(wanted, facts))
        return {Path(path).stem for path in found if "/first_boot/" in path}

    always = {"__init__", "commands", "journal", "questions", "run"}
    toml = Merge(format="toml", values={})
    assert travels(Group(name="crew")) == always | {"accounts"}
    assert travels(File(path="/a", content=toml)) == always | {"paths", "toml_keys"}
    assert travels(KernelModule(name="a")) == always | {"kernel", "paths"}
    bought = always | {"packages", "versions"}
    assert travels(Package(name="a")) == bought | {"apt"}
    assert travels(Package(name="a"), facts=image("redhat", "9")) == bought | {"dnf"}
