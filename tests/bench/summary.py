#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""What `./dev bench --json FILE` found, as the Markdown tables of docs/performance.md and README.md.

summary.py FILE          prints them
summary.py FILE --write  puts them where they belong, between a line "<!-- bench: NAME -->" and the next empty line
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# (case, metric, what the row is called); less is better in all of them
ROWS = [
    ("keepalive-1", "cpu_us_per_request", "Small request, 1 connection: CPU us"),
    ("keepalive-32", "cpu_us_per_request", "Small request, 32 connections: CPU us"),
    ("keepalive-256", "cpu_us_per_request", "Small request, 256 connections: CPU us"),
    ("connect", "cpu_us_per_connection", "New connection, full handshake: CPU us"),
    ("connect-reuse", "cpu_us_per_connection", "New connection, the peers resuming sessions: CPU us"),
    ("bulk-down", "cpu_s_per_gb", "Bulk from the server: CPU s/GB"),
    ("bulk-up", "cpu_s_per_gb", "Bulk to the server: CPU s/GB"),
    ("idle", "client_kb_per_connection", "Idle connection, client side: KB"),
    ("idle", "server_kb_per_connection", "Idle connection, server side: KB"),
    ("latency", "added_p50_us", "Added latency, median: us"),
    ("latency", "added_p99_us", "Added latency, p99: us"),
    ("latency", "added_p999_us", "Added latency, p99.9: us"),
    ("swap", "p99_us", "p99 with 20 snapshot swaps: us"),
    ("policy-10", "ns_per_decision", "A decision by 10 policies: ns"),
    ("policy-10000", "ns_per_decision", "A decision by 10,000 policies: ns"),
    ("destinations-100", "ns_per_lookup", "A look-up among 100 destinations: ns"),
    ("destinations-100000", "ns_per_lookup", "A look-up among 100,000 destinations: ns"),
]
SUBJECTS = ["tabard", "floor", "nginx", "haproxy", "stunnel", "envoy", "envoy-mlkem", "ghostunnel", "without swaps", "bystander"]

README_ROWS = [
    ("keepalive-32", "cpu_us_per_request", "Small request, 32 connections: CPU us"),
    ("keepalive-256", "cpu_us_per_request", "Small request, 256 connections: CPU us"),
    ("connect", "cpu_us_per_connection", "New connection, full handshake: CPU us"),
    ("bulk-down", "cpu_s_per_gb", "Bulk: CPU s/GB"),
    ("idle", "server_kb_per_connection", "Idle connection, server side: KB"),
    ("latency", "added_p50_us", "Added latency, median: us"),
    ("latency", "added_p99_us", "Added latency, p99: us"),
]
README_SUBJECTS = ["nginx", "haproxy", "envoy", "envoy-mlkem", "floor"]
# (aim, metric, [(case, what it is compared with or None, at most)])
SMALL = ["keepalive-1", "keepalive-32", "keepalive-256"]
AIMS = [
    ("Small request at most 0.75 of nginx (1, 32, 256 connections)", "cpu_us_per_request", [(case, "nginx", 0.75) for case in SMALL]),
    ("Small request at most 1.25 of the floor", "cpu_us_per_request", [(case, "floor", 1.25) for case in SMALL]),
    ("New connection at most 0.55 of nginx", "cpu_us_per_connection", [("connect", "nginx", 0.55)]),
    ("New connection at most 0.90 of Envoy, which exchanges X25519", "cpu_us_per_connection", [("connect", "envoy", 0.90)]),
    ("New connection at most 0.90 of Envoy, with the same key exchange", "cpu_us_per_connection", [("connect", "envoy-mlkem", 0.90)]),
    ("Bulk at most 0.58 of nginx (down, up)", "cpu_s_per_gb", [("bulk-down", "nginx", 0.58), ("bulk-up", "nginx", 0.58)]),
    ("Bulk at most 1.20 of the floor", "cpu_s_per_gb", [("bulk-down", "floor", 1.20), ("bulk-up", "floor", 1.20)]),
    ("Idle at most 10 KB on the client's side", "client_kb_per_connection", [("idle", None, 10)]),
    ("Idle at most 10 KB on the server's", "server_kb_per_connection", [("idle", None, 10)]),
    ("p99 of added latency no worse than any peer's", "added_p99_us",
     [("latency", peer, 1.0) for peer in ("nginx", "haproxy", "stunnel", "envoy", "ghostunnel")]),
    ("p99 with 20 swaps within 10 % of none", "p99_us", [("swap", "without swaps", 1.10)]),
]


def cell(row, ours):
    if row is None:
        return "-"
    ratio = ours["ratio"].get(row["subject"]) if row is not ours else None
    return f"{row['median']:g}" + (f" ({ratio:.2f})" if ratio is not None else "")


def summary(rows):
    """Each peer's median, and in parentheses Tabard's divided by it."""
    found = {(row["case"], row["metric"], row["subject"]): row for row in rows}
    subjects = [name for name in SUBJECTS if any(subject == name and (case, metric) in {r[:2] for r in ROWS}
                                                 for case, metric, subject in found)]
    lines = ["| | " + " | ".join(subjects) + " |", "|--" * (len(subjects) + 1) + "|"]
    for case, metric, title in ROWS:
        ours = found.get((case, metric, "tabard"))
        if ours:
            cells = [cell(found.get((case, metric, name)), ours) for name in subjects]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def readme(rows):
    ours = {(row["case"], row["metric"]): row for row in rows if row["subject"] == "tabard"}
    names = {"envoy": "Envoy", "floor": "the floor", "envoy-mlkem": "Envoy with X25519MLKEM768"}
    lines = ["| | Tabard | " + " | ".join(f"of {names.get(name, name)}" for name in README_SUBJECTS) + " |",
             "|--" * (len(README_SUBJECTS) + 2) + "|"]
    for case, metric, title in README_ROWS:
        row = ours.get((case, metric))
        if row:
            ratios = [row["ratio"].get(name) for name in README_SUBJECTS]
            lines.append(f"| {title} | {row['median']:g} | " + " | ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
                         + " |")
    return "\n".join(lines)


def aims(rows):
    ours = {(row["case"], row["metric"]): row for row in rows if row["subject"] == "tabard"}
    lines = ["| Aim | |", "|--|--|"]
    for title, metric, parts in AIMS:
        figures, is_missed = [], False
        for case, other, at_most in parts:
            row = ours.get((case, metric))
            figure = None if row is None else row["median"] if other is None else row["ratio"].get(other)
            if figure is not None:
                figures.append(f"{figure:.2f}" + (f" ({other})" if len(parts) > 3 else ""))
                is_missed = is_missed or round(figure, 2) > at_most
        if figures:
            lines.append(f"| {title} | {'missed: ' if is_missed else ''}{', '.join(figures)} |")
    return "\n".join(lines)


# (file, the marker's name, what makes the table)
PLACES = [("docs/performance.md", "peers", summary), ("docs/performance.md", "aims", aims), ("README.md", "readme", readme)]


def write(rows):
    for file, name, make in PLACES:
        path, marker = ROOT / file, f"<!-- bench: {name} -->\n"
        before, found, after = path.read_text().partition(marker)
        if not found:
            raise KeyError(f"{file} has no line {marker.strip()}")
        _, _, after = ("\n" + after).partition("\n\n")
        path.write_text(before + marker + make(rows) + "\n\n" + after)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--write"]):
        return f"usage: {sys.argv[0]} FILE [--write], FILE being what ./dev bench --json wrote"
    try:
        rows = json.loads(Path(sys.argv[1]).read_text())
        if sys.argv[2:]:
            write(rows)
        else:
            print("\n\n".join(make(rows) for _, _, make in PLACES))
    except OSError as error:
        return f"{sys.argv[0]}: {error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{sys.argv[0]}: {sys.argv[1]}: not what ./dev bench --json writes: {error}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
