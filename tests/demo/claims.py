# SPDX-License-Identifier: Apache-2.0
"""What a demo claims, line by line: each is tried before it is said."""
import contextlib
import os
import sys

IS_TERMINAL = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(code, text):
    return f"\x1b[{code}m{text}\x1b[0m" if IS_TERMINAL else text


class Claims:
    """What is shown to hold, line by line."""

    def __init__(self):
        self.num_held = self.num_failed = 0

    def section(self, text):
        print(f"\n{paint(1, text)}", flush=True)

    @contextlib.contextmanager
    def claim(self, text):
        """The block appends its figures to the list it is given; an exception in it is the claim's failure."""
        figures = []
        try:
            yield figures
        except Exception as error:  # whatever it was, the claim did not hold, and the next ones are still worth trying
            self.num_failed += 1
            print(f"  {paint(31, '✘')} {text}\n      {paint(31, str(error).strip() or repr(error))}", flush=True)
        else:
            self.num_held += 1
            print(f"  {paint(32, '✔')} {text:<50} {paint(36, ', '.join(figures))}", flush=True)


def expect(condition, why):
    if not condition:
        raise AssertionError(why)
