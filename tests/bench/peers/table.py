#!/usr/bin/python3
"""The tables of tests/bench/engine. usage: table.py RESULTS.tsv MODELS_FOLDER (with NET.tsv: input, GFLOP, parameters)
Lines of results: net, engine, mode, batch, threads, images/s (median, lowest, highest), images per CPU second, peak memory
in MiB, ms to load, ms of the first step; or net, "peak", GF/s. Rates of one thread are of CPU seconds, which neighbours on
the machine disturb little; those of two are of the clock. A training step counts as three forward passes."""
import os
import sys

OURS = 'millrace'
rows, gflop, shapes, nets, peak = {}, {}, {}, [], 0.0
for line in open(sys.argv[1]):
    c = line.rstrip('\n').split('\t')
    if c[0] not in nets:
        nets.append(c[0])
        shapes[c[0]], g, _ = open(os.path.join(sys.argv[2], c[0] + '.tsv')).read().split('\t')
        gflop[c[0]] = float(g)
    if c[1] == 'peak':
        peak = max(peak, float(c[2]))
        continue
    key = (c[0], c[1], c[2], int(c[3]), int(c[4]))
    values = [float(v) for v in c[5:]]
    if c[1] == 'pair' and key in rows:
        values[0] += rows[key][0]
    rows[key] = values


def rate(key):
    return (rows[key][3] if key[4] == 1 else rows[key][0]) if key in rows else 0.0


def number(v):
    return f'{v:,.0f}'.replace(',', ' ') if v >= 100 else f'{v:.1f}'


def cell(key):
    return f'{number(rate(key))} ({rows[key][4]:.0f} MB)' if key in rows else '–'


def batches(net, mode, threads):
    return sorted({k[3] for k in rows if (k[0], k[2], k[4]) == (net, mode, threads)})


def peers(mode, threads):
    return sorted({k[1] for k in rows if (k[2], k[4]) == (mode, threads)} - {OURS, 'pair'})


def best(net, mode, threads, engines):
    return max((rate((net, e, mode, b, threads)), e, b) for e in engines for b in batches(net, mode, threads))


def table(mode, threads):
    names = peers(mode, threads)
    what = 'images per second of CPU time' if threads == 1 else 'images per second'
    print(f'\n### {"Forward" if mode == "forward" else "Training step"}, {threads} thread{"s" if threads > 1 else ""}: '
          f'{what} (peak memory)\n')
    print('| network | batch | ours | GF/s | of peak | ' + ' | '.join(names) + ' | to the best peer here |')
    print('|---|---|---|---|---|' + '---|' * (len(names) + 1))
    for net in nets:
        for b in batches(net, mode, threads):
            mine = rate((net, OURS, mode, b, threads))
            theirs = max([rate((net, e, mode, b, threads)) for e in names], default=0)
            gf = mine * gflop[net] * (3 if mode == 'train' else 1)
            print(f'| {net} {shapes[net]} | {b} | {cell((net, OURS, mode, b, threads))} | {gf:.1f} | '
                  f'{100 * gf / (peak * threads):.0f} % | ' + ' | '.join(cell((net, e, mode, b, threads)) for e in names) +
                  f' | {f"{mine / theirs:.2f}" if theirs else "–"} |')


def summary():
    print('\n### One thread, each engine at its best batch; batch 1 beside it\n')
    print('| network | what | ours, batch | best peer, batch | ratio | ms at batch 1: ours, best peer | ratio of times |')
    print('|---|---|---|---|---|---|---|')
    for net in nets:
        for mode in ('forward', 'train'):
            if not batches(net, mode, 1) or not peers(mode, 1):
                continue
            mine, theirs = best(net, mode, 1, [OURS]), best(net, mode, 1, peers(mode, 1))
            one, other = rate((net, OURS, mode, 1, 1)), max(rate((net, e, mode, 1, 1)) for e in peers(mode, 1))
            latency = f'{1e3 / one:.3f}, {1e3 / other:.3f} | {other / one:.2f}' if one and other else '– | –'
            ratio = f'{mine[0] / theirs[0]:.2f}' if theirs[0] else '–'
            print(f'| {net} {shapes[net]} | {mode} | {number(mine[0])}, {mine[2]} | {number(theirs[0])} {theirs[1]}, '
                  f'{theirs[2]} | **{ratio}** | {latency} |')


def scaling():
    print('\n### Two threads: what they add, beside two processes of one thread each at the same time\n')
    print('| network | what | batch | one thread | two threads | times one | two processes | threads / processes x 2 |')
    print('|---|---|---|---|---|---|---|---|')
    for net, engine, mode, b, threads in sorted(rows, key=lambda k: (nets.index(k[0]), k[2:])):
        pair = rate((net, 'pair', mode, b, 2))
        if engine != OURS or threads != 2 or not pair:
            continue
        one, two = rows.get((net, OURS, mode, b, 1), [0])[0], rate((net, OURS, mode, b, 2))
        print(f'| {net} | {mode} | {b} | {number(one)} | {number(two)} | {f"{two / one:.2f}" if one else "–"} | '
              f'{number(pair)} | {2 * two / pair:.2f} |')


print(f'fp32 peak of a core, measured: {peak:.1f} GF/s. MB are MiB of peak resident memory, runtime and interpreter included.')
for net in nets:
    first = rows.get((net, OURS, 'forward', 1, 1))
    if first:
        print(f'{net}: opened in {first[5]:.1f} ms, first prediction {first[6]:.2f} ms after.')
counts = sorted({k[4] for k in rows})
if 1 in counts:
    summary()
for mode in ('forward', 'train'):
    for count in counts:
        if any(batches(net, mode, count) for net in nets):
            table(mode, count)
if 2 in counts:
    scaling()
