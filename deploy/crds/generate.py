# SPDX-License-Identifier: Apache-2.0
"""Writes the CustomResourceDefinitions of tabard.dev from proto/tabard/v1/mesh.proto and resources.py.

A structural schema (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/): the
API server drops fields that it doesn't know, and kubectl refuses them.
"""
import argparse
import hashlib
import json
import sys
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).resolve().parents[1] / "proto"))
import proto  # noqa: E402
import resources  # noqa: E402

GROUP, VERSION = "tabard.dev", "v1alpha1"
FOLDER = proto.TREE / "deploy/chart/files/crds"
HEADER = proto.TREE / "control/ctl/kube/definitions.h"
MARK = f"{GROUP}/definition"  # the annotation by which `tabardctl check` sees whether a cluster's definition is this one
CONDITION = {
    "type": "object", "required": ["type", "status", "lastTransitionTime", "reason", "message"], "properties": {
        "type": {"type": "string", "maxLength": 316}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
        "message": {"type": "string", "maxLength": 32768}}}
REPLICA = {
    "type": "object", "required": ["name", "observedGeneration", "inForce", "refused"], "properties": {
        "name": {"type": "string", "maxLength": 253, "description": "The replica's pod."},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "inForce": {"type": "integer", "format": "int32", "minimum": 0},
        "refused": {"type": "integer", "format": "int32", "minimum": 0},
        "message": {"type": "string", "maxLength": 1024, "description": "What one of those that refuse says."}}}
STATUS = {
    "type": "object", "description": "What policyd makes of it.", "properties": {
        "conditions": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": CONDITION,
            "description": "Accepted: whether policyd takes it as it is written, and if not, why. InForce: whether every sidecar "
                           "that it concerns has it."},
        "replicas": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": REPLICA,
            "description": "What each replica of policyd knows of the sidecars that it steers; InForce is the sum of it."}}}


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
    schema["x-kubernetes-validations"] = [dict(zip(["rule", "message"], resource["name"]))]
    kind = resource["kind"]
    made = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource['plural']}.{GROUP}",
                     "labels": {"app.kubernetes.io/name": "tabard", "app.kubernetes.io/part-of": "tabard"}},
        "spec": {"group": GROUP, "scope": resource["scope"],
                 "names": {"kind": kind, "listKind": kind + "List", "plural": resource["plural"], "singular": kind.lower(),
                           "shortNames": [resource["short"]], "categories": ["tabard"]},
                 "versions": [{"name": VERSION, "served": True, "storage": True, "subresources": {"status": {}},
                               "additionalPrinterColumns": resource["columns"], "schema": {"openAPIV3Schema": schema}}]}}
    mark = hashlib.sha256(json.dumps(made["spec"], sort_keys=True).encode()).hexdigest()[:16]
    made["metadata"]["annotations"] = {MARK: mark}
    return made


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: no anchors, and long texts in lines."""

    def ignore_aliases(self, _):
        return True


def _header(definitions):
    """The C header by which tabardctl knows the definitions of its own version."""
    lines = [f'X("{one["metadata"]["name"]}", "{one["metadata"]["annotations"][MARK]}")' for one in definitions]
    width = max(map(len, ["#define DEFINITIONS(X)", *(f"    {line}" for line in lines)])) + 1
    table = "\n".join(f"    {line}".ljust(width) + "\\" for line in lines[:-1]) + f"\n    {lines[-1]}"
    return f"""// SPDX-License-Identifier: Apache-2.0
//
// The definitions of tabard.dev that belong to this version, by name and mark. Made by
// deploy/crds/generate.py; a change by hand is lost.
#ifndef TABARD_CONTROL_CTL_KUBE_DEFINITIONS_H
#define TABARD_CONTROL_CTL_KUBE_DEFINITIONS_H

// clang-format off
// X(name, mark): the mark is the annotation {MARK} of the object.
{"#define DEFINITIONS(X)".ljust(width)}\\
{table}
// clang-format on

#endif
"""


def texts():
    """{path: text} of what this makes."""
    messages = proto.compiled("tabard/v1/mesh.proto")
    definitions = [definition(messages, resource) for resource in resources.RESOURCES]
    head = "# SPDX-License-Identifier: Apache-2.0\n# Made by deploy/crds/generate.py; a change by hand is lost.\n"
    made = {FOLDER / f"{one['spec']['names']['plural']}.yaml": head + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120,
                                                                               allow_unicode=True) for one in definitions}
    return {**made, HEADER: _header(definitions)}


def stale():
    """The files that are not what they must be, and those beside them that must not be there."""
    wanted = texts()
    return sorted(path for path in {*FOLDER.iterdir(), *wanted}
                  if not path.exists() or path.read_text() != wanted.get(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="generate.py", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="writes nothing; exit 1 if a file is not up to date")
    if parser.parse_args().check:
        found = stale()
        print("\n".join(f"crds: {path} is not up to date: run deploy/crds/generate.py" for path in found))
        sys.exit(bool(found))
    for path, text in texts().items():
        path.write_text(text)
