# SPDX-License-Identifier: Apache-2.0
"""The messages of a .proto file as protoc compiles them, with the comments that stand at their fields and values."""
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import descriptor_pb2

TREE = Path(__file__).resolve().parents[2]
# Where a message's fields, inner messages and inner enums, and an enum's values, stand in a compiled description: the steps of
# the paths by which its comments are found.
FIELDS, MESSAGES, ENUMS, VALUES = 2, 3, 4, 2
FILE_MESSAGES = 4


@dataclass
class Field:
    """A field of a message; an enum's values are {name: comment} without the unspecified one."""
    name: str
    json_name: str
    comment: str
    is_list: bool
    kind: str  # "string", "uint32", "bool", or the full name of a message or enum
    values: dict


def _comment(location):
    """The comment before a thing, or else the one behind it, as one paragraph."""
    text = location.leading_comments or location.trailing_comments
    return re.sub(r"\s+", " ", text).strip()


def compiled(file):
    """{message name without its package: [Field]} of proto/FILE."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", TREE / "proto", "--include_source_info", f"--descriptor_set_out={out.name}", file],
                       check=True)
        description = descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes()).file[0]
    comments = {tuple(location.path): _comment(location) for location in description.source_code_info.location}
    prefix, found, enums = f".{description.package}.", {}, {}

    def look(messages, path, step, outer):
        for number, message in enumerate(messages):
            name, here = outer + message.name, (*path, step, number)
            for at, values in enumerate(message.enum_type):
                enums[f"{name}.{values.name}"] = {value.name: comments.get((*here, ENUMS, at, VALUES, i), "")
                                                  for i, value in enumerate(values.value) if value.number != 0}
            found[name] = [(field, comments.get((*here, FIELDS, i), "")) for i, field in enumerate(message.field)]
            look(message.nested_type, here, MESSAGES, name + ".")

    def field_of(field, comment):
        kind = field.type_name.removeprefix(prefix) or field.Type.Name(field.type).removeprefix("TYPE_").lower()
        return Field(field.name, field.json_name, comment, field.label == field.LABEL_REPEATED, kind, enums.get(kind, {}))

    look(description.message_type, (), FILE_MESSAGES, "")
    return {name: [field_of(*field) for field in fields] for name, fields in found.items()}
