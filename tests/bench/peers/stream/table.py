#!/usr/bin/python3
"""The tables of tests/bench/stream, from its lines "part who {json}"."""
import json
import os
import sys

lines = [line.split(" ", 2) for line in open(sys.argv[1])]
results = [(part, who, json.loads(text)) for part, who, text in lines]
engine = next(r["images_per_second"] for part, _, r in results if part == "engine")
machine = next(r["machine"] for part, _, r in results if part == "engine")
cores = os.cpu_count()
NAMES = {"ours": "millrace", "java": "Java, ONNX Runtime", "python": "Python, PyTorch"}


def of(wanted):
    return [(who, r) for part, who, r in results if part == wanted]


def table(head, rows):
    if rows:
        print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for row in rows:
            print("| " + " | ".join(row) + " |")


def count(x):
    return f"{x:,.0f}".replace(",", " ")


def us(r, who):
    return f"{1e6 * r['cpu_cores'][who] / r['rows_per_second']:.1f}"


print(f"{machine}, {cores} cores with the broker on them; 3x32x32 uint8, LeNet; the engine alone {count(engine)} images/s on one core. Ours works off backlogs with commit.max_delay_ms {os.environ.get('COMMIT_MS', '100')}, the peers in transactions of up to 16 384 rows.")
ours = {r["rows_per_record"]: r["rows_per_second"] for who, r in of("peers") if who == "ours"}
rows = []
for who, r in of("peers"):
    n, broker = r["rows_per_record"], r["cpu_cores"]["broker"]
    share = r["rows_per_second"] / (engine * (cores - broker))
    times = "" if who == "ours" or n not in ours else f"{ours[n] / r['rows_per_second']:.1f}"
    rows.append(
        [str(n), NAMES[who], count(r["rows_per_second"]), f"{share:.2f}" if who == "ours" else "", times]
        + [f"{broker:.2f}", us(r, "broker"), us(r, "worker"), f"{r['worker_mb']['peak']:.0f}", str(r["answered_twice"])]
    )
table(
    ["rows a record", "who", "rows/s", "of the engine on c cores", "ours, times this", "broker's cores", "broker us/row", "worker us/row"]
    + ["worker's peak MB", "answered twice"],
    rows,
)
table(
    ["rows a record", "arrivals", "rows/s", "p50 ms", "p95", "p99", "most", "p99: queue", "decode", "compute", "encode", "commit", "MB"],
    [
        [str(r["rows_per_record"]), r["load"], count(r["rows_per_second"])]
        + [f"{r['latency_ms'][p]:.1f}" for p in ("p50", "p95", "p99")]
        + [f"{r['latency_max_ms']:.0f}"]
        + [f"{r['stages_ms'][s]['p99']:.2f}" for s in ("queue", "decode", "compute", "encode", "commit")]
        + [f"{r['worker_mb']['begin']:.0f} to {r['worker_mb']['end']:.0f}"]
        for _, r in of("latency")
    ],
)
table(
    ["changed", "to", "rows/s", "worker us/row", "broker us/row", "peak MB"],
    [
        [part, str({"partitions": r["partitions"], "workers": r["workers"], "rows": count(r["rows"])}[part]), count(r["rows_per_second"])]
        + [us(r, "worker"), us(r, "broker"), f"{r['worker_mb']['peak']:.0f}"]
        for part, _, r in results
        if part in ("partitions", "workers", "rows")
    ],
)
