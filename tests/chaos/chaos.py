# SPDX-License-Identifier: Apache-2.0
"""Does at random what happens to machines, to a loaded pair and its fleet: ./dev chaos [MINUTES] [--seed N] [--only NAME]

After each event it checks that nothing was lost beyond what the event may cost, that nothing opened, that no byte was wrong, and
that all came back: sidecars are ready, calls are answered, and a change of policy reaches everybody. The exit code is 0 only if
all of it held. The seed is printed; the same one gives the same events.
"""
import argparse
import collections
import contextlib
import random
import signal
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("e2e", "interop")]

from events import EVENTS  # noqa: E402
from load import Load  # noqa: E402
from mesh import Missing, wait_until  # noqa: E402
from world import BACK_S, World  # noqa: E402

SIDECARS_SOURCE = "127.0.0.6:"  # settings.service_source
QUIET_S = 1  # after an event is over, in which nothing may fail any more


class Chaos:
    def __init__(self, stack, seed):
        self.chance = random.Random(seed)
        self.world = World(stack)
        self.load = Load(self.world, seed)
        stack.callback(self.load.stop)
        self.book = self.load.book
        self.closed_since = time.monotonic()  # since when stranger must not reach web; None: it may
        self.may_be_clear_until = 0
        self.judged_until = time.monotonic()
        self.violations, self.rows = [], {}
        self.num_clear = 0
        self.world.change_and_see = self.change_and_see

    def violation(self, text):
        self.violations.append(text)
        print(f"    VIOLATED: {text}", flush=True)

    def change_and_see(self, when="as policy now says"):
        """A change of policy is written, and reaches everybody."""
        self.closed_since = None
        self.world.change_policy()
        wanted = self.world.is_open
        wait_until(f"stranger {'may' if wanted else 'may not'} call web, {when}",
                   lambda: self.load.call("stranger", "web") == wanted, BACK_S)
        if not wanted:
            self.closed_since = time.monotonic()

    def judge_arrivals(self):
        """Whoever reached a service must be one whom policy lets in, and must have come through a sidecar."""
        now = time.monotonic()
        wrong = collections.Counter()
        for moment, caller, called, source in self.book.since(self.book.arrivals, self.judged_until, now):
            is_delivered = source.startswith(SIDECARS_SOURCE)  # whoever has another came past the sidecar
            is_let_in = caller == "web" and called == "api" or (caller, called) == ("stranger", "web") and \
                (self.closed_since is None or moment <= self.closed_since)
            if is_delivered and is_let_in:
                continue
            if moment <= self.may_be_clear_until:
                self.num_clear += 1
            else:
                name = caller if caller in self.world.net.hosts else f"somebody who says {caller[:20]!r}"
                wrong[f"{name} from {source} reached {called} {'through' if is_delivered else 'past'} its sidecar, "
                      f"{moment - self.begun:.2f} s after the start"] += 1
        for text, num in wrong.items():
            self.violation(f"{num} times {text}")
        if wrong:
            for agent in self.world.agents.values():
                print("\n".join(f"      {agent.name}: {line[:300]}" for line in agent.log().splitlines()[-400:] if "interception" in line))
        self.judged_until = now

    def come_back(self):
        self.world.wait_ready()
        self.world.wait_followed()
        wait_until("web's calls to api are answered", lambda: self.load.call("web", "api"), BACK_S)
        self.change_and_see()

    def do(self, event):
        started = time.monotonic()
        if event.clear_s:
            self.may_be_clear_until = float("inf")
        broken, failed = len(self.book.broken), len(self.book.failed)
        try:
            what = event.run(self.world, self.chance)
        except Missing as missing:
            what = "failed"
            self.violation(str(missing))
        over = time.monotonic()
        if event.clear_s:
            self.may_be_clear_until = over + event.clear_s
        try:
            self.come_back()
        except Missing as missing:
            self.violation(f"not back after {event.name} ({what}): {missing}")
            for thing in (*self.world.agents.values(), self.world.policyd):
                print("\n".join(f"      {line[:250]}" for line in thing.log().splitlines()[-6:] if "msg=conn" not in line))
        back_s = time.monotonic() - over
        self.load.over.wait(QUIET_S)
        late = self.book.since(self.book.failed, over + back_s) + self.book.since(self.book.broken, over + back_s)
        # A call that was made before may still end late; what began after must not fail.
        num_broken, num_failed = len(self.book.broken) - broken, len(self.book.failed) - failed
        if num_broken and not event.breaks_connections:
            self.violation(f"{num_broken} connections broke: {self.book.broken[broken:][:2]}")
        if num_failed and not event.fails_calls:
            self.violation(f"{num_failed} calls failed: {self.book.failed[failed:][:2]}")
        self.judge_arrivals()
        self.rows.setdefault(event.name, []).append((back_s, num_broken, num_failed))
        print(f"{started - self.begun:6.0f} s  {event.name} ({what}): back after {back_s:.1f} s; {num_broken} connections broke, "
              f"{num_failed} calls failed{f', {len(late)} of them late' if late else ''}", flush=True)

    def run(self, seconds, only):
        self.begun = time.monotonic()
        self.come_back()
        events = [event for event in EVENTS if not only or only in event.name]
        pile = []
        while time.monotonic() - self.begun < seconds:
            pile = pile or self.chance.sample(events, len(events))  # each kind once before any comes again
            self.do(pile.pop())
        for wrong in self.book.wrong:
            self.violation(str(wrong[1:]))

    def tell(self):
        print(f"\n{'event':24} {'times':>5} {'back: median, most (s)':>24} {'connections broken':>19} {'calls failed':>13}")
        for name, rows in sorted(self.rows.items()):
            back = [row[0] for row in rows]
            print(f"{name:24} {len(rows):5} {statistics.median(back):16.1f}, {max(back):6.1f} {sum(row[1] for row in rows):19} "
                  f"{sum(row[2] for row in rows):13}")
        print(f"{self.book.num_calls} calls answered, {len(self.book.failed)} failed; {self.book.num_bytes >> 20} MB echoed, "
              f"{len(self.book.wrong)} times wrong; {self.num_clear} arrivals in the clear while the rules were gone; "
              f"{len(self.violations)} violations")


def main():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.splitlines()[0])
    parser.add_argument("minutes", nargs="?", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", metavar="NAME", help="events whose name holds NAME")
    options = parser.parse_args()
    if options.only and not any(options.only in event.name for event in EVENTS):
        parser.error(f"--only {options.only}: no such event; there are: " + ", ".join(event.name for event in EVENTS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}", flush=True)
    with contextlib.ExitStack() as stack:
        chaos = Chaos(stack, options.seed)
        try:
            chaos.run(options.minutes * 60, options.only)
        except KeyboardInterrupt:
            print()
        chaos.tell()
        return 1 if chaos.violations or not chaos.rows else 0


if __name__ == "__main__":
    sys.exit(main())
