#!/usr/bin/env python3
"""LeNet in PyTorch beside ours, written from what our documents promise and not from our code's results: the split by SHA-256 of a row
(dataset.h), the order of an epoch by xoshiro256** (rng.h), (x / 255 - mean) / std as input, SGD with momentum and a rate that falls to 0 as half a
cosine, mean cross entropy.

torch_lenet.py FOLDER EPOCHS BATCH RATE MOMENTUM SEED VALIDATION MEAN STD: reads FOLDER/rows.npz (x, y) and FOLDER/start.safetensors (the weights to begin
with, in the order of the network); prints the loss of each step, then the loss and accuracy on the validation rows, one number a line. The test
that reads them is torch_test.c.
"""
import hashlib
import json
import math
import sys

import numpy
import torch

MASK = (1 << 64) - 1
STREAM_SHUFFLE = 0x73687566


def splitmix(state):
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return state, z ^ (z >> 31)


def mixed(*numbers):
    h = 0
    for n in numbers:
        _, h = splitmix(h ^ n)
    return h


class Xoshiro:
    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed, z = splitmix(seed)
            self.s.append(z)

    def next(self):
        s = self.s
        x = (s[1] * 5) & MASK
        result = (((x << 7) | (x >> 57)) * 9) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = ((s[3] << 45) | (s[3] >> 19)) & MASK
        return result

    def below(self, n):
        while True:
            product = (self.next() >> 32) * n
            if product & 0xFFFFFFFF >= (1 << 32) % n:
                return product >> 32

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items), 1, -1):
            j = self.below(i)
            items[i - 1], items[j] = items[j], items[i - 1]
        return items


def split(x, y, validation):
    train, held = [], []
    for i in range(len(y)):
        digest = hashlib.sha256(x[i].tobytes() + int(y[i]).to_bytes(4, "little")).digest()
        u = int.from_bytes(digest[:8], "big") / 2**64
        (held if u < validation else train).append(i)
    return train, held


def safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size = int.from_bytes(data[:8], "little")
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    found = []
    for name, t in head.items():
        if name == "__metadata__" or name == "optimizer.moments":
            continue
        begin, end = t["data_offsets"]
        found.append((begin, torch.from_numpy(numpy.frombuffer(body[begin:end], "<f4").reshape(t["shape"]).copy())))
    return [t for _, t in sorted(found, key=lambda f: f[0])]


def lenet(weights):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 16, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(400, 120), torch.nn.ReLU(), torch.nn.Linear(120, 84), torch.nn.ReLU(), torch.nn.Linear(84, 10))
    # matched by shape: no two are alike in LeNet
    ours = {tuple(w.shape): w for w in weights}
    assert len(ours) == len(weights) == len(list(net.parameters())), [tuple(w.shape) for w in weights]
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(ours[tuple(p.shape)])
    return net


def main():
    folder, epochs, batch, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[6])
    rate, momentum, validation, mean, std = (float(sys.argv[i]) for i in (4, 5, 7, 8, 9))
    torch.set_num_threads(1)
    rows = numpy.load(folder + "/rows.npz")
    x, y = rows["x"], rows["y"]
    train, held = split(x, y, validation)
    images = torch.from_numpy(((x.astype("f8") / 255 - mean) / std).astype("f4"))
    labels = torch.from_numpy(y.astype("i8"))
    net = lenet(safetensors(folder + "/start.safetensors"))
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum)
    loss_of = torch.nn.CrossEntropyLoss()
    steps, step = epochs * ((len(train) + batch - 1) // batch), 0
    for epoch in range(epochs):
        order = Xoshiro(mixed(seed, epoch, STREAM_SHUFFLE, 0)).shuffled(train)
        for first in range(0, len(order), batch):
            at = order[first : first + batch]
            optimiser.param_groups[0]["lr"] = rate / 2 * (1 + math.cos(math.pi * step / steps))
            optimiser.zero_grad()
            loss = loss_of(net(images[at]), labels[at])
            loss.backward()
            optimiser.step()
            step += 1
            print(f"{loss.item():.9g}")
    with torch.no_grad():
        out = net(images[held])
        print(f"{loss_of(out, labels[held]).item():.9g}")
        print(f"{(out.argmax(1) == labels[held]).double().mean().item():.9g}")


main()
