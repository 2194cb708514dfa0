# SPDX-License-Identifier: Apache-2.0
"""What the compiler and the linker make harder for whoever finds a fault is in each program as it was built, BoringSSL's part too."""
import re
import subprocess

import pytest

import root
from mesh import ROOT

WANTED = {
    "code at a random address": lambda elf: "PIE" in elf["flags"],
    "all functions looked up at the start": lambda elf: "NOW" in elf["flags"],
    "their table read-only from then on": lambda elf: "GNU_RELRO" in elf["segments"],
    "no code on the stack": lambda elf: elf["segments"].get("GNU_STACK") == ["RW"],
    "no memory that is code and can be written": lambda elf: not any("W" in modes and "E" in modes for modes in elf["segments"]["LOAD"]),
    "no code that is relocated": lambda elf: "TEXTREL" not in elf["dynamic"],
    "no folder of its own for libraries": lambda elf: not re.search("RPATH|RUNPATH", elf["dynamic"]),
    "guarded frames": lambda elf: "__stack_chk_fail" in elf["imports"],
    "checked lengths": lambda elf: any(name.endswith("_chk") for name in elf["imports"]),
}


def printed(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read(program):
    dynamic = printed("readelf", "-dW", program)
    segments = {}
    for name, modes in re.findall(r"^  (\w+) +(?:0x\w+ +){5}([RWE ]{3})", printed("readelf", "-lW", program), re.M):
        segments.setdefault(name, []).append(modes.strip())
    return {"dynamic": dynamic, "segments": segments, "flags": " ".join(re.findall(r"\(FLAGS(?:_1)?\) +(.*)", dynamic)),
            "imports": {name.split("@")[0] for name in printed("nm", "-D", "--undefined-only", "-j", program).split()}}


def missing(program):
    elf = read(program)
    return [what for what, has in WANTED.items() if not has(elf)]


@pytest.mark.parametrize("program", root.PROGRAMS)
def test_a_program_is_hardened(program):
    assert missing(ROOT / program) == []


def test_boringssl_guards_its_frames_too():
    """It is built with flags of its own (bazel/boringssl.bzl)."""
    guarded = set()
    function = ""
    for line in printed("objdump", "-d", "--no-show-raw-insn", ROOT / root.PROGRAMS[0]).splitlines():
        if line.endswith(">:"):
            function = line.split("<")[1][:-2]
        elif "__stack_chk_fail" in line:
            guarded.add(function)
    assert len([name for name in guarded if name.startswith("_ZN4bssl")]) > 100, len(guarded)


def test_what_lacks_all_of_it_is_seen(tmp_path):
    source, program = tmp_path / "bare.c", tmp_path / "bare"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-fno-stack-protector", "-no-pie", "-Wl,-z,norelro,-z,lazy,-z,execstack,-rpath,/lib", source, "-o", program], check=True)
    seen = missing(program)
    assert set(WANTED) - set(seen) <= {"no memory that is code and can be written", "no code that is relocated"}, seen
