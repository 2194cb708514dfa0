# SPDX-License-Identifier: Apache-2.0
"""README's "By hand", run as it stands, line by line, in a network namespace: what each line's comment promises is looked for."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

import netns
from mesh import ROOT, Missing, wait_until

README = (ROOT / "README.md").read_text()
SECTION = re.search(r"^## By hand.*?\n(.*?)(?=^## )", README, re.M | re.S)[1]
EXAMPLE = ROOT / "tests/demo/by_hand"
SCRIPT = ROOT / "tests/demo/by_hand.py"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.M | re.S)


def test_readme_shows_the_files_that_are_run():
    assert blocks("yaml") == [(EXAMPLE / name).read_text() for name in ("api.yaml", "web.yaml")]


@pytest.fixture(scope="module")
def host():
    if os.getuid() != 0:
        pytest.skip("needs root, for a network namespace")
    with contextlib.closing(netns.Network("tabard-hand", ["alone"])) as network:
        yield network["alone"]


class Pair:
    """./dev pair without its build, in a network namespace."""

    def __init__(self, host, folder):
        self.folder, self.lines = folder, folder.with_suffix(".log")
        with host.entered(), open(self.lines, "w") as log:
            self.process = subprocess.Popen([sys.executable, "-B", SCRIPT, folder], stdout=log, stderr=log)

    def wait_line(self, text, mark=0):
        def look():
            said = self.lines.read_text()[mark:]
            if self.process.poll() is not None and text not in said:
                raise Missing(f"it has ended, and did not say {text}: {said}")
            return text in said
        wait_until(f"the log says {text}", look, seconds=20)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=40)


# What stands in README behind a # is what its line must give: a pattern of its output, or of the pair's log.
PROMISES = {
    "web's sidecar takes the call, api's lets it in": "hello",
    "the log tells of it at once": "",
    "denied": "Recv failure|Empty reply|reset by peer",
    "says why": "denied: no policy allows|policy_denied|denied",
    "as it was": "",
    "a peer like any other is let in": "hello",
    "one without a certificate is not": "certificate required|alert",
}


def test_each_line_gives_what_it_promises_twice(host, tmp_path):
    folder = tmp_path / "pair"
    (block,) = [text for text in blocks("sh") if text.startswith("cd out/pair")]
    lines = re.findall(r"^(.*?) +# (.*)$", block, re.M)
    assert [comment for _, comment in lines] == list(PROMISES)
    assert len(block.splitlines()) <= 10
    for _ in range(2):  # the second finds the folder of the first
        pair = Pair(host, folder)
        try:
            pair.wait_line("It runs until Ctrl-C")
            for number in range(2):
                pair.wait_line(f"{('api', 'web')[number]:5}| time=")
            for command, comment in lines:
                def gives():
                    done = subprocess.run(["sh", "-c", "PATH=$PWD/bin:$PATH; " + command], cwd=folder, capture_output=True, text=True, timeout=20)
                    return re.search(PROMISES[comment], done.stdout + done.stderr)
                mark = len(pair.lines.read_text())
                if command.startswith("sed"):
                    with host.entered():
                        assert gives()
                    pair.wait_line('msg="snapshot in force"', mark)
                else:
                    with host.entered():
                        wait_until(f"{command}: {PROMISES[comment]}", gives, seconds=20)
            assert os.stat(folder / "api.key").st_mode & 0o777 == 0o600
        finally:
            status = pair.end()
        assert status == 0, pair.lines.read_text()
    assert subprocess.run(["pgrep", "-f", str(folder)], capture_output=True).stdout == b"", "nothing runs on"


def test_a_folder_of_somebody_s_and_a_port_that_is_taken_are_refused(host, tmp_path):
    (tmp_path / "mine").write_text("precious")
    def refusal(folder):
        with host.entered():
            done = subprocess.run([sys.executable, "-B", SCRIPT, folder], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
        return done.stderr
    assert "was not made by this" in refusal(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"
    assert "/proc/pair" in (why := refusal("/proc/pair")) and "name a folder that can be made and written" in why
    with host.entered():
        taken = socket.create_server(("127.0.0.1", 9443))
    with taken:
        assert "127.0.0.1:9443, which its sidecar needs: Address already in use" in refusal(tmp_path / "new")
    assert not (tmp_path / "new").exists()
