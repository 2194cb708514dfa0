# SPDX-License-Identifier: Apache-2.0
"""Samples to rows: medians of the rounds, and the ratio to every other subject of the same run; as a table and as JSON."""
import json
import statistics

# What a metric is called in the table. Less is better, but for the last three.
UNITS = {
    "cpu_us_per_request": "CPU us/request", "cpu_us_per_connection": "CPU us/connection", "cpu_s_per_gb": "CPU s/GB",
    "cpu_ms_per_swap": "CPU ms/swap",
    "client_kb_per_connection": "KB/connection, client side", "server_kb_per_connection": "KB/connection, server side",
    "p50_us": "p50 us", "p99_us": "p99 us", "p999_us": "p99.9 us",
    "added_p50_us": "added p50 us", "added_p99_us": "added p99 us", "added_p999_us": "added p99.9 us",
    "ns_per_decision": "ns/decision", "bytes_per_policy": "bytes/policy",
    "ns_per_lookup": "ns/look-up", "bytes_per_destination": "bytes/destination",
    "requests_per_second": "requests/s", "connections_per_second": "connections/s", "gbit_per_second": "Gbit/s",
}


class Samples:
    def __init__(self):
        self.values = {}  # (case, subject, metric) -> one value a round

    def add(self, case, subject, **metrics):
        for metric, value in metrics.items():
            self.values.setdefault((case, subject, metric), []).append(value)

    def rows(self):
        medians = {key: statistics.median(values) for key, values in self.values.items()}
        made = []
        for (case, subject, metric), values in self.values.items():
            ratio = {other: round(medians[case, subject, metric] / median, 3)
                     for (other_case, other, other_metric), median in medians.items()
                     if other_case == case and other_metric == metric and other != subject
                     # A latency may come out below the direct one's, within the noise: no ratio then.
                     and median > 0 and medians[case, subject, metric] > 0}
            made.append({"case": case, "subject": subject, "metric": metric, "median": figure(medians[case, subject, metric]),
                         "min": figure(min(values)), "max": figure(max(values)), "ratio": ratio})
        return made


def figure(value):
    """Three digits are more than a bench is worth; whole numbers stay whole."""
    return round(value, 1 if abs(value) < 1000 and abs(value) >= 10 else 0 if abs(value) >= 1000 else 3)


HEAD = f"{'median':>10}{'min':>10}{'max':>10}"


def line(name, row, ratio=""):
    return f"  {name:20}{row['median']:>10g}{row['min']:>10g}{row['max']:>10g}{ratio}"


def table(rows):
    """One block a case and metric, with Tabard's ratio to each subject; what Tabard alone was measured in, a block a metric."""
    blocks, alone = {}, {}
    for row in rows:
        blocks.setdefault((row["case"], row["metric"]), []).append(row)
    lines = []
    for (case, metric), block in blocks.items():
        ours = next((row for row in block if row["subject"] == "tabard"), None)
        if ours and len(block) == 1:
            alone.setdefault(metric, []).append(ours)
            continue
        lines += ["", f"{case}: {UNITS[metric]}", f"  {'':20}{HEAD}" + ("   tabard/this" if ours else "")]
        for row in block:
            ratio = ours["ratio"].get(row["subject"]) if ours else None
            lines.append(line(row["subject"], row, "" if ratio is None else f"{ratio:>14.2f}"))
    for metric, block in alone.items():
        lines += ["", f"tabard: {UNITS[metric]}", f"  {'':20}{HEAD}", *(line(row["case"], row) for row in block)]
    return "\n".join(lines).lstrip("\n")


def as_json(rows):
    return "[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]\n"
