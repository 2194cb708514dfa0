# SPDX-License-Identifier: Apache-2.0
"""Writes the bill of materials of the programs that Bazel built into a file; ./dev build calls it."""
import sys
from pathlib import Path

import document


def write(out, programs):
    subject = document.subject("application", "tabard", document.version())
    contents = {program.name: program.read_bytes() for program in programs}
    out.write_text(document.text(document.document(programs, contents, subject)))


if __name__ == "__main__":
    write(Path(sys.argv[1]), [Path(program) for program in sys.argv[2:]])
