# SPDX-License-Identifier: Apache-2.0
"""Draws the demonstration's output, read from standard input, as an SVG: ./dev demo | tests/demo/picture.py >docs/demo.svg"""
import sys
from html import escape

LINE, CHARACTER, MARGIN, FIGURES_AT = 18, 7.83, 20, 55
STYLE = """
text { font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #d5d9e0; white-space: pre }
.good { fill: #7ec87e } .bad { fill: #f07070 } .figure { fill: #7cc4d8 } .head { fill: #ffffff; font-weight: bold }
"""


def spans(line):
    """(column, class, text) for each piece of a line."""
    mark = line.strip()[:1]
    if mark in ("✔", "✘"):
        yield 2, "good" if mark == "✔" else "bad", mark
        yield 4, "", line[4:FIGURES_AT].rstrip()
        yield max(FIGURES_AT, 4 + len(line[4:FIGURES_AT].rstrip()) + 2), "figure", line[FIGURES_AT:].strip()
    elif line and not line.startswith(" "):
        yield 0, "head", line
    else:
        yield 0, "", line


def main():
    lines = sys.stdin.read().strip("\n").split("\n")
    width = round(max(map(len, lines)) * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">')
    print(f'<style>{STYLE}</style><rect width="100%" height="100%" rx="8" fill="#1b1f27"/>')
    for number, line in enumerate(lines, 1):
        for column, kind, text in spans(line):
            if text:
                x, y = MARGIN + column * CHARACTER, MARGIN + number * LINE - 5
                print(f'<text x="{x:.1f}" y="{y}" class="{kind}" xml:space="preserve">{escape(text)}</text>')
    print("</svg>")


if __name__ == "__main__":
    main()
