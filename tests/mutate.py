#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Changes modules a little, one change at a time, and names the changes that no unit test sees: see ./dev mutate.

Works in a copy of the tree, out/mutate, which has a Bazel of its own. A change that doesn't compile doesn't count; a test
that doesn't end counts as one that failed. The changes tried are the same whenever seed, number and file are.
"""
import argparse
import fcntl
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COPY = ROOT / "out" / "mutate"
PASSED, FAILED_TO_BUILD, FAILED_TESTS = 0, 1, 3  # how bazel test ends
TEST_SECONDS_MAX = 60

# What isn't code, and what can't be seen by a test: logs, releases, checks of what is always so.
MASKED = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^#(?:\\\n|[^\n])*|'
                    r'^ +(?:log_\w+|\w*free\w*|\w+_cleanup|\w+_unref|ERR_clear_error|invariant)\([^;]*\);$|\{0\}|_Static_assert\([^;]*\);', re.S | re.M)
SWAPS = {" == ": " != ", " != ": " == ", " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " && ": " || ",
         " || ": " && ", " + ": " - ", " - ": " + ", " += ": " -= ", " -= ": " += ", "++": "--", "--": "++",
         "true": "false", "false": "true", "continue;": "break;", "break;": ";"}
SWAP = re.compile("|".join(r"\b%s\b" % old if old.isalpha() else re.escape(old) for old in SWAPS))
NEGATION = re.compile(r"!(?=[\w(])")
CONDITION = re.compile(r"(?<=\bif \()(?!!)[^\n]*(?=\) \{$)", re.M)
NUMBER = re.compile(r"(?<![\w.])\d+(?=[uUlL]*\b)(?![.\w]*[.x])")
STATEMENT = re.compile(r"^ +(?!return\b|goto\b|break\b|continue\b|case\b)(?:\(void\))?[\w*][\w.\[\]>-]*(?:\([^;{}]*\)| [+|&-]?= [^;{}]*);$", re.M)
RETURN = re.compile(r"(?<=return )(?!true;|false;|0;|NULL;|-1;)[^;]+(?=;)")


def changes(text):
    """Every change that may be tried, as (start, end, replacement)."""
    code = MASKED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    for match in SWAP.finditer(code):
        yield match.start(), match.end(), SWAPS[match.group()]
    for match in NEGATION.finditer(code):
        yield match.start(), match.end(), ""
    for match in CONDITION.finditer(code):
        yield match.start(), match.end(), f"!({text[match.start():match.end()]})"
    for match in NUMBER.finditer(code):
        yield match.start(), match.end(), str(int(match.group()) + 1)
        if int(match.group()) > 0:
            yield match.start(), match.end(), str(int(match.group()) - 1)
    for match in STATEMENT.finditer(code):
        start = match.start() + len(match.group()) - len(match.group().lstrip())
        yield start, match.end(), ";"
    for match in RETURN.finditer(code):
        yield match.start(), match.end(), "0"


def bazel(*arguments, **options):
    return subprocess.run(["bazel", *arguments], cwd=COPY, text=True, stdin=subprocess.DEVNULL, **options)


def refresh_copy():
    """Makes the copy equal to the tree. What an earlier run left changed in it, or stopped in, is gone."""
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    wanted = {file for file in listed if file and (ROOT / file).exists()}
    for found in COPY.rglob("*") if COPY.exists() else ():
        file = found.relative_to(COPY)
        if not file.parts[0].startswith("bazel-") and not found.is_dir() and str(file) not in wanted:
            found.unlink()
    for file in wanted:
        source, target = ROOT / file, COPY / file
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def query(expression):
    done = bazel("query", expression, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"mutate: {done.stderr}")
    return done.stdout.split()


def tests_of(file):
    """The unit tests that depend on a file: all of its own folder, and of the others those that are quick."""
    folder = os.path.dirname(file)
    users = f'kind("cc_test", rdeps(//tests/unit/..., //{folder}:{os.path.basename(file)}))'
    near = f'filter("^//tests/unit/{folder}:", {users})'
    return query(near), query(f'attr("size", "small", {users}) except {near}')


def run(tests):
    if not tests:
        return PASSED
    flags = ["--noshow_progress", "--notest_keep_going", "--copt=-w", "--platform_suffix=-mutate", f"--test_timeout={TEST_SECONDS_MAX}",
             f"--test_tmpdir={ROOT}/out/tmp", "--test_output=summary"]
    done = bazel("test", *flags, *tests, capture_output=True)
    if done.returncode not in (PASSED, FAILED_TO_BUILD, FAILED_TESTS):
        sys.exit(f"mutate: {done.stderr}")
    return done.returncode


def line_of(text, at):
    start = text.rfind("\n", 0, at) + 1
    return text.count("\n", 0, at) + 1, text[start:text.find("\n", at)].strip()


def try_changes(file, tried, seed):
    """Tries some changes of one file; prints those that survive. Returns how many counted and how many were caught."""
    text = (COPY / file).read_text()
    all_changes = sorted(set(changes(text)))
    random.Random(f"{seed} {file}").shuffle(all_changes)
    near, far = tests_of(file)
    if not near + far:
        print(f"{file}: no unit test depends on it")
        return 0, 0
    if run(near + far) != PASSED:
        sys.exit(f"mutate: the tests of {file} fail before anything is changed")
    num_counted = num_caught = 0
    for start, end, replacement in all_changes:
        if num_counted == tried:
            break
        (COPY / file).write_text(text[:start] + replacement + text[end:])
        result = run(near)
        if result == PASSED:
            result = run(far)
        if result == FAILED_TO_BUILD:
            continue
        num_counted += 1
        num_caught += result != PASSED
        if result == PASSED:
            number, line = line_of(text, start)
            print(f"{file}:{number}: `{' '.join(text[start:end].split())}` -> `{replacement.strip()}` in: {line}", flush=True)
    (COPY / file).write_text(text)
    print(f"{file}: {num_caught} of {num_counted} caught", flush=True)
    return num_counted, num_caught


def main():
    parser = argparse.ArgumentParser(prog="./dev mutate", description="Names the changes of modules that no unit test sees.")
    parser.add_argument("--max", type=int, default=20, metavar="N", help="changes to try for each file (20)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another number tries other changes (1)")
    parser.add_argument("files", nargs="*", metavar="FILE", help="C files or folders (proxy certs)")
    given = parser.parse_args()
    os.nice(19)
    os.chdir(ROOT)
    patterns = [name if name.endswith(".c") else f"{name.rstrip('/')}/*.c" for name in given.files or ["proxy", "certs"]]
    files = sorted(set(subprocess.check_output(["git", "ls-files", *patterns], text=True).split()))
    (ROOT / "out").mkdir(exist_ok=True)
    lock = open(ROOT / "out" / "mutate.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("mutate: another one runs in this tree")
    refresh_copy()
    num_counted = num_caught = 0
    try:
        for file in files:
            counted, caught = try_changes(file, given.max, given.seed)
            num_counted, num_caught = num_counted + counted, num_caught + caught
    except KeyboardInterrupt:
        print("stopped")
    finally:
        bazel("shutdown", capture_output=True)
    print(f"all: {num_caught} of {num_counted} caught")


if __name__ == "__main__":
    main()
