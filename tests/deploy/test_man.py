# SPDX-License-Identifier: Apache-2.0
"""The manual's pages say all that --help and the comments in proto/ say, and man(1) can show them."""
import re
import shutil
import subprocess

import pytest

import help_text
import pages as man
import proto
from mesh import PROGRAMS, run

ALL = [*man.PROGRAMS, *man.FILES]


def page(name):
    return man.program_page(PROGRAMS[name]) if name in man.PROGRAMS else man.file_page(name)


def shown(name):
    """The page as man(1) shows it, a list of words; words are not divided at the ends of lines."""
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-P-cbou", "-ww", "-rHY=0", "-rLL=20000n"], input=page(name),
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.replace("‐", "-").replace("−", "-").replace("`", "").split()


def lacks(words, text):
    return [word for word in text.replace("`", "").split() if word not in words]


@pytest.mark.parametrize("name", man.PROGRAMS)
def test_the_page_of_a_program_holds_every_word_of_its_help(name):
    words = set(shown(name))
    commands = re.findall(r"^  ([a-z][a-z-]*) ", run(name, "--help").stdout, re.M)
    assert bool(commands) == (name in ("tabard-ca", "tabardctl"))
    for command in [[], *([command] for command in commands)]:
        text = run(name, *command, "--help").stdout.removeprefix("usage: ")
        assert lacks(words, text.replace("Exit status:", "") if not command else text) == []


@pytest.mark.parametrize("name", man.FILES)
def test_the_page_of_a_file_holds_every_field_that_can_stand_in_it(name):
    words = set(shown(name))
    file, first, _ = man.FILES[name]
    messages = proto.compiled(f"tabard/v1/{file}.proto")
    waiting, seen = [first], set()
    while waiting:
        message = waiting.pop()
        seen.add(message)
        for field in messages[message]:
            assert f"{field.name}:" in words
            assert lacks(words, " ".join([field.comment, field.kind_comment, *field.values.values()])) == []
            if field.kind in messages and field.kind not in seen:
                waiting.append(field.kind)
    assert {"mesh.yaml": "Limits", "fleet.yaml": "Workload", "inject.yaml": "InjectConfig", "probes.yaml": "HttpProbe"}[name] in seen


@pytest.mark.parametrize("name", ALL)
def test_whatis_finds_a_page_by_its_name(name, tmp_path):
    if not shutil.which("lexgrog"):
        pytest.skip("lexgrog (man-db) is not installed")
    path = tmp_path / f"{name}.{man.PAGES[name]}"
    path.write_text(page(name))
    said = subprocess.run(["lexgrog", path], capture_output=True, text=True, check=True).stdout
    assert re.search(rf'"{re.escape(name)} - \w', said), said


def test_the_example_of_mesh_yaml_is_one_that_tabardctl_takes(tmp_path):
    run("tabard-ca", "init", "--dir", tmp_path / "ca", "--trust-domain", "demo.example")
    run("tabard-ca", "issue", "--dir", tmp_path / "ca", "--id", "spiffe://demo.example/api", "--out-cert", tmp_path / "api.pem",
        "--out-key", tmp_path / "api.key")
    (tmp_path / "mesh.yaml").write_text(man.example("mesh.yaml"))
    run("tabardctl", "check", tmp_path / "mesh.yaml")
    assert "inbound_ports:" in page("mesh.yaml").split("EXAMPLE")[1]
    assert "by_join_token" in page("fleet.yaml").split("EXAMPLE")[1]


@pytest.mark.parametrize("text, line", [
    ("Usage: x\n", "Usage: x"), ("x: does something\n\nusage: x\n", "x: does something"),
    ("usage: x\n\n  --flag  one\n --other  two\n", " --other  two"),
])
def test_help_of_another_form_is_refused_by_its_line(text, line):
    with pytest.raises(ValueError, match=re.escape(repr(line))):
        help_text.parsed(text)


def test_a_row_goes_on_below_and_a_paragraph_ends_before_the_exit_status():
    said = help_text.parsed("usage: x [flags]\n       x -\n\nDoes it.\n\n  --a B  one\n         two\n  --c\n\nIt ends. Exit status: 0\nor 1.\n")
    assert said.usage == ["x [flags]", "x -"]
    assert said.blocks == ["Does it.", [("--a B", "one two"), ("--c", "")], "It ends."]
    assert said.exit_status == "0 or 1."


def test_roff_takes_nothing_of_a_text_for_its_own():
    odd = "a\\fB.b 'c' -d ~e ^f \"g\" √ ."
    sheet = man.roff.Page("x", 1, "y", "0")
    sheet.paragraph(".begins with a dot")
    sheet.literal(odd + "\n.so /etc/passwd\n'also")
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-P-cbou", "-ww"], input=sheet.text(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert ".begins with a dot" in done.stdout and ".so /etc/passwd" in done.stdout and "'also" in done.stdout
    assert odd in done.stdout.replace("−", "-")
