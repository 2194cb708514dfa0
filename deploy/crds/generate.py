# SPDX-License-Identifier: Apache-2.0
"""Writes the CustomResourceDefinitions of tabard.dev from proto/tabard/v1/mesh.proto and resources.py.

A structural schema (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/): the
API server drops fields that it doesn't know, and kubectl refuses them.
"""
import argparse
import sys
from pathlib import Path

import yaml

import proto
import resources

GROUP, VERSION = "tabard.dev", "v1alpha1"
FOLDER = proto.TREE / "deploy/chart/files/crds"
CONDITION = {
    "type": "object", "required": ["type", "status", "lastTransitionTime", "reason", "message"], "properties": {
        "type": {"type": "string", "maxLength": 316}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
        "message": {"type": "string", "maxLength": 32768}}}
STATUS = {
    "type": "object", "description": "What policyd makes of it.", "properties": {"conditions": {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": CONDITION,
        "description": "Accepted: whether policyd takes it as it is written, and if not, why. InForce: whether every sidecar that "
                       "it concerns has it."}}}


def _description(field):
    """The comment at a field, and those at the values of its enum."""
    lines = [field.comment] + [f"{name}: {comment}." for name, comment in field.values.items() if comment]
    return "\n".join(line[0].upper() + line[1:] for line in lines if line)


def _field(messages, resource, message, field):
    """The schema of one field."""
    schema = dict(resources.FIELDS.get(f"{message}.{field.name}", {}))
    description = _description(field)
    if field.kind in messages:
        inner = _object(messages, resource, field.kind)
        schema = {**schema, "items": inner} if field.is_list else inner
    elif field.values:
        schema = {"type": "string", "enum": list(field.values)}
    elif not schema:
        raise SystemExit(f"crds: resources.py says nothing of {message}.{field.name}")
    if field.json_name in resource["defaults"]:
        schema["default"] = resource["defaults"][field.json_name]
    return {**({"description": description} if description else {}), **schema}


def _object(messages, resource, message):
    """The schema of a message with what the resource has more."""
    is_spec = message == resource["message"]
    taken = [field for field in messages[message] if not is_spec or (
        field.name in resource["only"] if "only" in resource else field.name not in resource["without"])]
    properties = dict(resource["more"].get(message, {}))
    properties.update((field.json_name, _field(messages, resource, message, field)) for field in taken)
    return {"type": "object", "properties": properties}


def definition(messages, resource):
    """One CustomResourceDefinition."""
    spec = {**_object(messages, resource, resource["message"]), "required": resource["required"]}
    if resource["rules"]:
        spec["x-kubernetes-validations"] = resource["rules"]
    schema = {"description": resource["description"], "type": "object", "required": ["spec"],
              "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
                             "spec": spec, "status": STATUS}}
    if "name" in resource:
        schema["x-kubernetes-validations"] = [{
            "rule": f"self.metadata.name == '{resource['name']}'",
            "message": f"the only {resource['kind']} is called {resource['name']}"}]
    kind = resource["kind"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource['plural']}.{GROUP}",
                     "labels": {"app.kubernetes.io/name": "tabard", "app.kubernetes.io/part-of": "tabard"}},
        "spec": {"group": GROUP, "scope": resource["scope"],
                 "names": {"kind": kind, "listKind": kind + "List", "plural": resource["plural"], "singular": kind.lower(),
                           "shortNames": [resource["short"]], "categories": ["tabard"]},
                 "versions": [{"name": VERSION, "served": True, "storage": True, "subresources": {"status": {}},
                               "additionalPrinterColumns": resource["columns"], "schema": {"openAPIV3Schema": schema}}]}}


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: no anchors, and long texts in lines."""

    def ignore_aliases(self, _):
        return True


def texts():
    """{file name: text} of what the folder must hold."""
    messages = proto.compiled("tabard/v1/mesh.proto")
    head = "# SPDX-License-Identifier: Apache-2.0\n# Made by deploy/crds/generate.py; a change by hand is lost.\n"
    return {resource["plural"] + ".yaml": head + yaml.dump(definition(messages, resource), Dumper=_Dumper, sort_keys=False,
                                                           width=120, allow_unicode=True)
            for resource in resources.RESOURCES}


def stale(folder=FOLDER):
    """The names of the files that are not what they must be, those among them that must not be there."""
    wanted = texts()
    names = {path.name for path in folder.iterdir()} | set(wanted)
    return sorted(name for name in names
                  if not (folder / name).exists() or (folder / name).read_text() != wanted.get(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="generate.py", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="writes nothing; exit 1 if a file is not up to date")
    if parser.parse_args().check:
        found = stale()
        print("\n".join(f"crds: {FOLDER / name} is not up to date: run deploy/crds/generate.py" for name in found))
        sys.exit(bool(found))
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
