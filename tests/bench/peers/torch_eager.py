#!/usr/bin/python3
"""Debian's PyTorch: forward of the frozen TorchScript, or eager training steps, with the columns of Timing.java.
usage: torch_eager.py forward|train MODEL.onnx MODEL.forward.pt CxHxW BATCH,BATCH... THREADS SECONDS REPETITIONS"""
import sys
import time

import torch
import torch.nn.functional as F

mode, model, frozen, shape = sys.argv[1:5]
batches, threads, seconds, repetitions = sys.argv[5].split(','), int(sys.argv[6]), float(sys.argv[7]), int(sys.argv[8])
torch.set_num_threads(threads)
began = time.perf_counter()
if mode == 'train':
    import from_onnx
    net = from_onnx.load(model).train()
    sgd = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
else:
    net = torch.jit.load(frozen)
load_ms = 1e3 * (time.perf_counter() - began)


def step(x, y):
    if mode == 'forward':
        with torch.inference_mode():
            net(x)
        return
    sgd.zero_grad(set_to_none=True)
    F.cross_entropy(net(x), y).backward()
    sgd.step()


def repeat(x, y, wanted):
    images, wall, cpu = 0, time.perf_counter(), time.thread_time()
    while not images or time.perf_counter() - wall < wanted:
        step(x, y)
        images += len(x)
    return images / (time.perf_counter() - wall), images / (time.thread_time() - cpu)


for batch in map(int, batches):
    x, y = torch.rand(batch, *map(int, shape.split('x'))), torch.randint(0, 10, (batch,))
    began = time.perf_counter()
    step(x, y)
    first_ms = 1e3 * (time.perf_counter() - began)
    slow = first_ms > 3000
    if not slow:
        repeat(x, y, 0)
    if first_ms < 1e3 * seconds:
        repeat(x, y, seconds)
    rates, began = [], time.perf_counter()
    while len(rates) < repetitions and (len(rates) < (1 if slow else 2) or time.perf_counter() - began < 3 * repetitions * seconds):
        rates.append(repeat(x, y, seconds))
    wall, cpu = sorted(r[0] for r in rates), sorted(r[1] for r in rates)
    with open('/proc/self/status') as status:
        peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith('VmHWM'))
    print(f'torch-{torch.__version__.split("+")[0]}', mode, batch, threads, *(f'{v:.1f}' for v in (
        wall[len(wall) // 2], wall[0], wall[-1], cpu[len(cpu) // 2], peak)), f'{load_ms:.2f}', f'{first_ms:.2f}', sep='\t',
        flush=True)
