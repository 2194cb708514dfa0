# SPDX-License-Identifier: Apache-2.0
"""How many callers at once are served, and what strangers who hold connections cost: ./dev bench herd

Two sidecars with one worker each, on 127.0.0.1, with callers and strangers that are Python's, so times are the machine's.
  herd       6,000 callers at once, each with a connection of its own that stays open until all are answered
  slow core  2,000 of them while each proxy may use a tenth of a core (root, cgroups v1 or v2)
  strangers  500 handshakes one after the other, alone and beside 10,000 connections from one address that say nothing
"""
import contextlib
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "e2e")]

from ca import Authority  # noqa: E402
from foreign import client_context  # noqa: E402
from herd import Answers, ShareOfACore, Strangers, Unavailable, call_at_once, handshakes  # noqa: E402
from mesh import DOMAIN, WEB, Agent, wait_until  # noqa: E402
from pair import FORWARD, client_config, server_config  # noqa: E402

CALLERS, SLOW_CALLERS, PERCENT = 6000, 2000, 10
STRANGERS, HANDSHAKES = 10000, 500


def percentile(seconds, part):
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * part))] * 1000


def herd(what, number, client):
    answered, refused, seconds = call_at_once(client.address(FORWARD), number, 120)
    print(f"{what}: {answered} of {number} answered, {refused} turned away, the last after {seconds:.1f} s")
    return answered == number


def strangers(server, context):
    address = server.address(FORWARD)
    alone, failed_alone = handshakes(address, context, HANDSHAKES)
    with contextlib.closing(Strangers(address, STRANGERS)) as silent:
        wait_until("they are connected", lambda: server.metric("tabard_hellos_awaited") >= STRANGERS * 0.9, 30)
        beside, failed = handshakes(address, context, HANDSHAKES, silent.renew)
    for what, took, bad in (("alone", alone, failed_alone), (f"beside {STRANGERS} silent strangers", beside, failed)):
        print(f"handshakes {what}: {len(took)} done, {len(bad)} failed, median {percentile(took, 0.5):.1f} ms, "
              f"p99 {percentile(took, 0.99):.1f} ms")
    return not failed


def main():
    with contextlib.ExitStack() as stack:
        keep = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
        authority, answers = keep(Authority(DOMAIN)), keep(Answers())
        server = keep(Agent("payments", server_config(authority, answers.address)))
        client = keep(Agent("shop", client_config(authority, server.address(FORWARD))))
        ok = herd("herd", CALLERS, client)
        try:
            with contextlib.closing(ShareOfACore("payments", PERCENT, [server.proxy_pid()])), \
                 contextlib.closing(ShareOfACore("shop", PERCENT, [client.proxy_pid()])):
                ok &= herd(f"slow core ({PERCENT} %)", SLOW_CALLERS, client)
        except Unavailable as why:
            print(f"slow core: skipped: {why}")
        ok &= strangers(server, client_context(authority, authority.issue("web", WEB)))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
