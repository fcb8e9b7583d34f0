"""A kubectl that stands in: objects in a folder of JSON, the verbs that the programs use.

``state.json`` beside it: ``objects`` by ``KIND|NAMESPACE|NAME``; ``kinds`` that are not there;
``fails``: the texts with which a verb fails at first, null where it works in between; ``raw``:
what paths answer; ``drain``: what it says and its exit status. ``log`` has one line a call.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = HERE / "state.json"
words = sys.argv[1:]
state = json.loads(STATE.read_text())
objects = state.setdefault("objects", {})


def save():
    STATE.write_text(json.dumps(state))


def end(rc, err=""):
    save()
    sys.stderr.write(err)
    sys.exit(rc)


def option(*names):
    for number, word in enumerate(words):
        for name in names:
            if word == name:
                return words[number + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None


def key(found):
    about = found["metadata"]
    return f"{found['kind'].lower()}|{about.get('namespace', '')}|{about['name']}"


def merged(old, new):
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: merged(old.get(name), new.get(name, old.get(name))) for name in {*old, *new}}
    return new


def selected(kind):
    where, labels, fields = option("-n"), option("-l") or "", option("--field-selector") or ""
    for name, found in sorted(objects.items()):
        about = found["metadata"]
        own, spec = about.get("labels", {}), found.get("spec", {})
        wanted = dict(part.split("=") for part in labels.split(",") if part)
        chosen = [part.partition("=") for part in fields.split(",") if "!=" not in part and part]
        values = {"spec.nodeName": spec.get("nodeName"), "metadata.name": about["name"]}
        if (
            name.split("|")[0] == kind.split(".")[0].lower().rstrip("s")
            and (where is None or where == about.get("namespace", ""))
            and all(own.get(label) == value for label, value in wanted.items())
            and all(values[field] == value for field, _, value in chosen)
        ):
            yield name


def fed():
    return json.load(sys.stdin)["items"]


def label():
    for line in Path(option("-f")).read_text().splitlines():
        found = json.loads(line)
        labels = dict(word.split("=", 1) for word in words[words.index("-o") + 2 :])
        found["metadata"].setdefault("labels", {}).update(labels)
        sys.stdout.write(json.dumps(found, indent=1))


def apply():
    errors = ""
    for found in fed():
        namespace = found["metadata"].get("namespace")
        if found["kind"] in state.get("kinds", []):
            errors += f'no matches for kind "{found["kind"]}" in version "x/v1"\n'
        elif namespace not in (None, "kube-system") and f"namespace||{namespace}" not in objects:
            errors += f'Error from server (NotFound): namespaces "{namespace}" not found\n'
        else:
            objects[key(found)] = merged(objects.get(key(found), {}), found)
            sys.stdout.write(f"{key(found)} serverside-applied\n")
    end(1 if errors else 0, errors)


def get():
    if option("--raw"):
        found = state.get("raw", {}).get(option("--raw"))
        sys.stdout.write(found or "")
        end(0 if found else 1, "" if found else "The connection to the server was refused\n")
    kind = words[words.index("get") + 1].rstrip("s")
    rest = words[words.index("get") + 2 : words.index("get") + 3]
    if rest and not rest[0].startswith("-"):
        found = [one for one in selected(kind) if one.endswith(f"|{rest[0]}")]
        sys.stdout.write(json.dumps(objects[found[0]]) if found else "")
    elif "jsonpath" in (option("-o") or ""):
        for name in selected(kind):
            sys.stdout.write(objects[name]["spec"]["nodeName"] + "\n")
    else:
        items = [objects[name] for name in selected(kind)]
        sys.stdout.write(json.dumps({"kind": "List", "items": items}))


def delete():
    kind = words[words.index("delete") + 1]
    named = words[words.index("delete") + 2 : words.index("delete") + 3]
    for name in list(selected(kind)):
        if named[0].startswith("-") or name.endswith(f"|{named[0]}"):
            del objects[name]
            sys.stdout.write(f"{name} deleted\n")


def annotate():
    about = objects[f"node||{words[words.index('node') + 1]}"]["metadata"]
    marks = about.setdefault("annotations", {})
    change = words[-1]
    if change.endswith("-"):
        marks.pop(change[:-1], None)
    else:
        name, _, value = change.partition("=")
        marks[name] = value


def cordon():
    objects[f"node||{words[-1]}"]["spec"]["unschedulable"] = True


def uncordon():
    objects[f"node||{words[-1]}"]["spec"].pop("unschedulable", None)


def drain():
    told = state.get("drain", {"rc": 0, "says": f"node/{words[words.index('drain') + 1]} drained"})
    sys.stdout.write(told["says"] + "\n")
    end(told["rc"])


def version():
    sys.stdout.write(json.dumps(state["version"]))


verbs = {
    "label": label, "apply": apply, "get": get, "delete": delete, "annotate": annotate,
    "cordon": cordon, "uncordon": uncordon, "drain": drain, "version": version,
    "wait": lambda: None,
}  # fmt: skip
verb = next(word for word in words if word in verbs)
with (HERE / "log").open("a") as log:
    log.write(" ".join(words) + "\n")
failing = state.get("fails", {}).get(verb, [])
text = failing.pop(0) if failing else None
if text is not None:
    end(1, text)
verbs[verb]()
save()
