# SPDX-License-Identifier: Apache-2.0
"""Every rule of ./dev lint is seen to fail: each test plants one fault in a copy of the tree and finds it named."""
import functools
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = "proxy/origin/origin"  # a module that every rule looks at
GONE = "planted" + "_name"  # put together, so that no code holds it


pytestmark = pytest.mark.skipif(not (shutil.which("clang") and shutil.which("shellcheck")), reason="no clang or shellcheck")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for file in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split("\n"):
        if file and (ROOT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    (folder / "bazel-bin").symlink_to(os.readlink(ROOT / "bazel-bin"))
    run = lambda *command: subprocess.run(command, cwd=folder, check=True)
    run("git", "init", "-q")
    run("git", "add", "-A")
    yield folder
    subprocess.run(["bazel", "clean", "--expunge"], cwd=folder, capture_output=True)


class Planted:
    """Files of the copy with something added or replaced, put back at the end."""

    def __init__(self, folder, changes):
        self.folder, self.changes = folder, changes

    def __enter__(self):
        for file, change in self.changes.items():
            path = self.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text() if path.exists() else ""
            path.write_text(change(text) if callable(change) else text + change)
        subprocess.run(["git", "add", "-A"], cwd=self.folder, check=True)

    def __exit__(self, *_):
        for file in self.changes:
            original, path = ROOT / file, self.folder / file
            if original.exists():
                shutil.copy(original, path)
            else:
                path.unlink()
        subprocess.run(["git", "add", "-A"], cwd=self.folder, check=True)


def check(folder, name, *arguments):
    command = ["bash", f"tests/lint/{name}"] if name.endswith(".sh") else ["/usr/bin/python3", "-B", f"tests/lint/{name}"]
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    assert (done.returncode != 0) == bool(done.stdout), done.stdout
    return done.stdout


@functools.cache
def sound(*arguments):
    """What a check says of the copy as it is."""
    return check(*arguments)


def swap(old, new):
    def change(text):
        assert old in text, f"nothing to swap: {old}"
        return text.replace(old, new, 1)

    return change


LONG_FUNCTION = "\nvoid planted(void);\nvoid planted(void)\n{\n" + "    planted();\n" * 81 + "}\n"
FAULTS = {
    "a file without its licence": ("sizes.py", {EXAMPLE + ".c": swap("SPDX", "")}, f"{EXAMPLE}.c: no SPDX line"),
    "a long file": ("sizes.py", {EXAMPLE + ".c": "// x\n" * 450}, rf"{EXAMPLE}.c: \d+ lines; 450"),
    "a long function": ("sizes.py", {EXAMPLE + ".c": LONG_FUNCTION}, rf"{EXAMPLE}.c:\d+: a function of 81 lines"),
    "a full folder": ("sizes.py", {f"proxy/conn/planted{i}.h": "// SPDX-License-Identifier: Apache-2.0\n" for i in range(22)},
                      r"proxy/conn: \d+ files; 22"),
    "an arrow to another folder": ("layers.py", {EXAMPLE + ".c": '#include "control/host/http.h"\n'},
                                   rf"{EXAMPLE}.c:\d+: proxy/origin doesn't see control/host"),
    "an allowed arrow beside a forbidden one": (
        "layers.py", {"control/ctl/explain.c": '#include "proxy/rules/policy.h"\n#include "proxy/conn/conn.h"\n'},
        r"control/ctl/explain.c:\d+: control/ctl doesn't see proxy/conn"),
    "a folder without a line": ("layers.py", {"proxy/planted/x.c": "int x;\n"}, "proxy/planted/x.c: its folder has no line"),
    "a circle of folders": ("layers.py", {"bazel/layers.bzl": swap('"base": [', '"base": ["proxy", ')},
                            "base sees proxy, which has no line above it"),
    "an arrow that nothing needs": ("layers.py", {"bazel/layers.bzl": swap('"proto": []', '"proto": ["base"]')},
                                    "proto sees base and needs nothing of it"),
    "a place that doesn't include a library": ("layers.py", {"bazel/layers.bzl": swap('"yaml.h": [', '"yaml.h": ["base/err", ')},
                                               "base/err may include yaml.h and doesn't"),
    "TLS where none is spoken": ("layers.py", {EXAMPLE + ".c": "#include <openssl/ssl.h>\n"},
                                 rf"{EXAMPLE}.c:\d+: openssl/ssl.h is not for proxy/origin"),
    "an event loop in what is pure": ("layers.py", {"certs/path/verify.c": "#include <uv.h>\n"}, r"certs/path/verify.c:\d+: uv.h is not for certs/path"),
    "a function of two modules": ("symbols.py", {"base/err.c": "\nvoid side_close(\n    int a, int b)\n{\n}\n",
                                                 EXAMPLE + ".c": "\nvoid side_close(int a)\n{\n}\n"}, "side_close is public in base/err.c and"),
    "a variable of two modules": ("symbols.py", {"base/err.c": "\nconst char *const planted[] = {0};\n",
                                                 EXAMPLE + ".c": "\nint planted = 0;\n"}, "planted is public in base/err.c and"),
    "a type of two headers": ("symbols.py", {"base/err.h": "\nstruct origin {\n    int a;\n};\n"}, "struct origin is public in base/err.h and"),
    "a macro of two headers": ("symbols.py", {"base/err.h": "#define PLANTED 1\n", EXAMPLE + ".h": "#define PLANTED 2\n"},
                               "PLANTED is public in base/err.h and"),
    "an enumerator of two headers": ("symbols.py", {"base/err.h": "\nenum a {\n    PLANTED,\n};\n",
                                                    EXAMPLE + ".h": "\nenum b {\n    PLANTED = 2,\n};\n"}, "PLANTED is public in base/err.h and"),
    "a comment about what is gone": ("names.py", {EXAMPLE + ".c": f"// See {GONE}.\n"}, rf"{EXAMPLE}.c:\d+: no {GONE} in"),
    "a call in a comment": ("names.py", {EXAMPLE + ".c": f"// See {GONE[4:7]}er().\n"}, rf"{EXAMPLE}.c:\d+: no {GONE[4:7]}er in"),
    "a document about what is gone": ("names.py", {"README.md": f"Set `{GONE}`.\n"}, rf"README.md:\d+: no {GONE} in"),
    "a file that is gone": ("names.py", {"docs/design.md": "In proxy/planted.c.\n"}, r"docs/design.md:\d+: no file proxy/planted.c"),
    "a folder that is gone": ("names.py", {EXAMPLE + ".c": "// In proxy/planted/.\n"}, rf"{EXAMPLE}.c:\d+: no file proxy/planted"),
    "a header that needs another": ("headers.py", {EXAMPLE + ".h": lambda text: text.replace("#include", "//")}, f"{EXAMPLE}.h doesn't compile alone"),
    "a shell script's mistake": ("scripts.sh", {"tests/fuzz/fuzz.sh": "echo $1\n"}, r"tests/fuzz/fuzz.sh:\d+:\d+: note"),
    "Python that doesn't parse": ("scripts.sh", {"tests/e2e/ca.py": "def\n"}, r"tests/e2e/ca.py:\d+: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lint_names(copy, fault):
    name, changes, expected = FAULTS[fault]
    arguments = ["tests/fuzz/fuzz.sh"] if name == "scripts.sh" else []
    assert not re.search(expected, sound(copy, name, *arguments)), "found before it was planted"
    with Planted(copy, changes):
        assert re.search("^lint: .*" + expected, check(copy, name, *arguments), re.M)


def test_clang_names_a_header_of_nobody_that_the_target_depends_on_and_a_warning_that_gcc_lacks(copy):
    with Planted(copy, {EXAMPLE + ".c": '#include "base/err.h"\nstatic int f(int a)\n{\n    return a++, a;\n}\n'}):
        said = check(copy, "clang.sh", "//proxy/origin")
    assert re.search(rf"^lint: {EXAMPLE}.c:\d+:\d+: error: .* does not depend on a module exporting 'base/err.h'", said, re.M)
    assert re.search(rf"^lint: {EXAMPLE}.c:\d+:\d+: error: .*\[-Werror,-Wcomma\]", said, re.M)
