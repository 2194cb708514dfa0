#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""What `./dev bench --json FILE` found, as the Markdown table of docs/performance.md: summary.py FILE"""
import json
import sys

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
]
SUBJECTS = ["tabard", "floor", "nginx", "haproxy", "stunnel", "envoy", "envoy-mlkem", "ghostunnel", "without swaps", "bystander"]


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


def main():
    if len(sys.argv) != 2:
        return f"usage: {sys.argv[0]} FILE, which ./dev bench --json wrote"
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            print(summary(json.load(file)))
    except OSError as error:
        return f"{sys.argv[0]}: {sys.argv[1]}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{sys.argv[0]}: {sys.argv[1]}: not what ./dev bench --json writes"
    return 0


if __name__ == "__main__":
    sys.exit(main())
