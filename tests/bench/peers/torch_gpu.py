#!/usr/bin/python3
"""PyTorch on the first CUDA device: forward passes, or training steps of SGD with momentum, rows already there.
usage: torch_gpu.py eager|channels-last|compile forward|train MODEL.onnx CxHxW BATCH,BATCH... TF32 SECONDS
Prints "batch, who, images/s" a line, separated by tabs; a batch that finds no memory is left out."""
import sys
import time

import from_onnx
import torch
import torch.nn.functional as F

who, mode, model, shape, batches, tf32, seconds = sys.argv[1:8]
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32 == '1'
torch.backends.cudnn.benchmark = True
layout = torch.channels_last if who == 'channels-last' else torch.contiguous_format
net = from_onnx.load(model).to('cuda', memory_format=layout).train(mode == 'train')
sgd = torch.optim.SGD(net.parameters(), lr=1e-12, momentum=0.9)
run = torch.compile(net) if who == 'compile' else net


def step(x, y):
    if mode == 'forward':
        with torch.inference_mode():
            run(x)
        return
    sgd.zero_grad(set_to_none=True)
    F.cross_entropy(run(x), y).backward()
    sgd.step()


def rate(x, y, wanted):
    images, began = 0, time.perf_counter()
    while not images or time.perf_counter() - began < wanted:
        for _ in range(4):
            step(x, y)
        torch.cuda.synchronize()
        images += 4 * len(x)
    return images / (time.perf_counter() - began)


for batch in map(int, batches.split(',')):
    try:
        x = torch.rand(batch, *map(int, shape.split('x')), device='cuda').to(memory_format=layout)
        y = torch.randint(0, 10, (batch,), device='cuda')
        rate(x, y, float(seconds) / 4)
        rates = sorted(rate(x, y, float(seconds) / 7) for _ in range(7))
        print(batch, who, f'{rates[3]:.1f}', sep='\t', flush=True)
    except torch.cuda.OutOfMemoryError:
        print(f'{model}, batch {batch}: no memory', file=sys.stderr)
        torch.cuda.empty_cache()
