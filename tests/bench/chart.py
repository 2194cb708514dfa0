# SPDX-License-Identifier: Apache-2.0
"""The bench's rows as one SVG picture: a panel for each question, a bar for each subject, shorter is better."""
import html
import json
import sys

# (case, metric, what the panel is called)
PANELS = [
    ("keepalive-32", "cpu_us_per_request", "Small request, 32 connections: CPU us"),
    ("connect", "cpu_us_per_connection", "New connection, full handshake: CPU us"),
    ("bulk-down", "cpu_s_per_gb", "Bulk: CPU seconds per GB"),
    ("idle", "server_kb_per_connection", "Idle connection, server side: KB"),
    ("latency", "added_p50_us", "Added latency, median: us"),
    ("latency", "added_p99_us", "Added latency, p99: us"),
]
COLUMNS, WIDTH, BAR, GAP, LABEL, VALUE, TITLE = 2, 460, 18, 6, 86, 64, 34
OURS, FLOOR, PEER = "#0b6e4f", "#b9c2c9", "#8fa3b5"


def panel_rows(rows, case, metric):
    found = [row for row in rows if row["case"] == case and row["metric"] == metric and row["subject"] != "direct"]
    return sorted(found, key=lambda row: (row["subject"] != "tabard", row["subject"] == "floor", row["median"]))


def is_complete(rows):
    return all(panel_rows(rows, case, metric) for case, metric, _ in PANELS)


def draw_panel(rows, title, x, y):
    longest = max(max(row["median"] for row in rows), 1e-9)
    room = WIDTH - LABEL - VALUE - 24
    parts = [f'<text x="{x}" y="{y + 16}" class="title">{html.escape(title)}</text>']
    for number, row in enumerate(rows):
        top = y + TITLE + number * (BAR + GAP)
        colour = {"tabard": OURS, "floor": FLOOR}.get(row["subject"], PEER)
        width = max(1.0, room * max(0.0, row["median"]) / longest)
        weight = ' class="ours"' if row["subject"] == "tabard" else ""
        parts += [f'<text x="{x + LABEL - 8}" y="{top + 13}" text-anchor="end"{weight}>{html.escape(row["subject"])}</text>',
                  f'<rect x="{x + LABEL}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
                  f'<text x="{x + LABEL + width + 6:.1f}" y="{top + 13}"{weight}>{row["median"]:g}</text>']
    return parts


def draw(rows):
    panels = [(title, found) for case, metric, title in PANELS if (found := panel_rows(rows, case, metric))]
    parts, y = [], 12
    for start in range(0, len(panels), COLUMNS):
        line = panels[start:start + COLUMNS]
        for column, (title, found) in enumerate(line):
            parts += draw_panel(found, title, 16 + column * WIDTH, y)
        y += TITLE + max(len(found) for _, found in line) * (BAR + GAP) + 20
    width = 16 + COLUMNS * WIDTH
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img">',
        "<title>Tabard, its peers and a plain relay (floor): shorter is better</title>",
        "<style>text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 14px } "
        ".ours { font-weight: 600 }</style>",
        f'<rect width="{width}" height="{y}" fill="#ffffff"/>', *parts, "</svg>", ""])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(draw(json.load(file)))
