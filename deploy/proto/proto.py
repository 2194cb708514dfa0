# SPDX-License-Identifier: Apache-2.0
"""The messages of a .proto file, and of those that it imports, as protoc compiles them, with the comments that stand at them, at
their fields, at their enums and at the values of these."""
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
    kind_comment: str  # at the enum


class Message(list):
    """The fields of a message, with the comment at it."""

    def __init__(self, fields, comment):
        super().__init__(fields)
        self.comment = comment


@dataclass
class Enum:
    comment: str
    values: dict


class Reader:
    """Collects what stands in one compiled file after the other; enums come before the fields that are of them."""

    def __init__(self):
        self.enums, self.messages = {}, {}

    def read(self, description):
        comments = {tuple(location.path): _comment(location) for location in description.source_code_info.location}
        self.prefix = f".{description.package}."
        self._enums(description.message_type, (), FILE_MESSAGES, "", comments)
        self._messages(description.message_type, (), FILE_MESSAGES, "", comments)

    def _enums(self, messages, path, step, outer, comments):
        for number, message in enumerate(messages):
            name, here = outer + message.name, (*path, step, number)
            for at, enum in enumerate(message.enum_type):
                self.enums[f"{name}.{enum.name}"] = Enum(
                    comments.get((*here, ENUMS, at), ""),
                    {value.name: comments.get((*here, ENUMS, at, VALUES, i), "") for i, value in enumerate(enum.value) if value.number != 0})
            self._enums(message.nested_type, here, MESSAGES, name + ".", comments)

    def _messages(self, messages, path, step, outer, comments):
        for number, message in enumerate(messages):
            name, here = outer + message.name, (*path, step, number)
            fields = [self._field(field, comments.get((*here, FIELDS, i), "")) for i, field in enumerate(message.field)]
            self.messages[name] = Message(fields, comments.get(here, ""))
            self._messages(message.nested_type, here, MESSAGES, name + ".", comments)

    def _field(self, field, comment):
        kind = field.type_name.removeprefix(self.prefix) or field.Type.Name(field.type).removeprefix("TYPE_").lower()
        enum = self.enums.get(kind, Enum("", {}))
        return Field(field.name, field.json_name, comment, field.label == field.LABEL_REPEATED, kind, enum.values, enum.comment)


def _comment(location):
    """The comment before a thing, or else the one behind it, as one paragraph."""
    text = location.leading_comments or location.trailing_comments
    return re.sub(r"\s+", " ", text).strip()


def compiled(file):
    """{message name without its package: Message} of proto/FILE and of the files that it imports."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", TREE / "proto", "--include_source_info", "--include_imports",
                        f"--descriptor_set_out={out.name}", file], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes()).file
    reader = Reader()
    for description in files:
        reader.read(description)
    return reader.messages
