#!/usr/bin/python3
"""LeNet in PyTorch eager, one thread: images a second, forward or training step (forward, loss, backward, SGD with momentum).
usage: torch_lenet.py forward|train BATCH SECONDS   prints one number, the median of seven repetitions"""
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.dense1, self.dense2, self.dense3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.dense1(torch.flatten(x, 1)))
        return self.dense3(F.relu(self.dense2(x)))


mode, batch, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(1)
net = LeNet()
x, y = torch.rand(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)


def step():
    if mode == 'forward':
        with torch.inference_mode():
            net(x)
        return
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(net(x), y).backward()
    optimizer.step()


for _ in range(10):
    step()
rates = []
for _ in range(7):
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds / 7:
        step()
        count += 1
    rates.append(count * batch / (time.perf_counter() - began))
print(f'{sorted(rates)[3]:.0f}')
