# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions are those that the messages of mesh.proto make. What an API server says of objects by them:
tests/kubernetes/test_resources.py."""
import re

import yaml

import generate
import proto


def test_the_definitions_are_up_to_date():
    assert generate.stale() == [], "run deploy/crds/generate.py"


def test_a_changed_a_missing_and_a_strange_file_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    monkeypatch.setattr(generate, "HEADER", tmp_path / "definitions.h")
    for path, text in generate.texts().items():
        path.write_text(text)
    assert generate.stale() == []
    (tmp_path / "meshpolicies.yaml").write_text("")
    (tmp_path / "meshsettings.yaml").unlink()
    (tmp_path / "definitions.h").write_text("")
    (tmp_path / "strange.yaml").write_text("")
    assert [path.name for path in generate.stale()] == ["definitions.h", "meshpolicies.yaml", "meshsettings.yaml", "strange.yaml"]


def made():
    """{file name: text} of the definitions."""
    return {path.name: text for path, text in generate.texts().items() if path.suffix == ".yaml"}


def spec_of(kind):
    definition = yaml.safe_load(made()[kind])
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def test_every_field_of_a_policy_and_a_destination_is_there():
    messages = proto.compiled("tabard/v1/mesh.proto")
    names = {message: {field.json_name for field in messages[message]} for message in ["Policy", "Policy.Rule", "Destination"]}
    policy = spec_of("meshpolicies.yaml")
    assert set(policy) == names["Policy"] - {"name"} | {"selector"}
    assert set(policy["rules"]["items"]["properties"]) == names["Policy.Rule"] | {"from", "notFrom"}
    assert set(spec_of("meshdestinations.yaml")) == names["Destination"] - {"name"} | {"selector", "services"}


def test_comments_and_enums_come_from_the_messages():
    destination = spec_of("meshdestinations.yaml")
    assert destination["binding"]["enum"] == ["OFFERED", "NONE", "REQUIRED"]
    assert "REQUIRED: told, and a server that does not confirm it is refused." in destination["binding"]["description"]
    assert destination["identities"]["description"] == "MTLS: the SPIFFE ids of which the server must prove one"


def test_every_list_and_text_has_a_bound():
    """Without bounds an API server refuses rules as too costly, and one object could fill policyd."""
    def look(schema, where):
        if schema.get("type") == "array":
            assert schema.get("minItems") == 1 and "maxItems" in schema, where
            look(schema["items"], where + "[]")
        elif schema.get("type") == "object":
            for name, inner in schema.get("properties", {}).items():
                look(inner, f"{where}.{name}")
            assert "properties" in schema or "maxProperties" in schema, where
        elif schema.get("type") == "string":
            assert "enum" in schema or "maxLength" in schema, where

    for name in made():
        for field, schema in spec_of(name).items():
            look(schema, f"{name}: {field}")


def test_names_of_fields_in_messages_are_those_of_the_resources():
    """A comment or a rule that says source_ips would send its reader to a field that isn't there."""
    for name, text in made().items():
        found = set(re.findall(r"\b[a-z]+_[a-z_]+\b", text))
        assert not found, f"{name}: {found}"
