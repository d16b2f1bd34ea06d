#!/usr/bin/python3
"""LeNet of the widely used PyTorch tutorial, in PyTorch: what golden_test.c is held against.

    apt-get install python3-torch; python3 tests/golden/make_goldens.py      (writes tests/golden/lenet.safetensors)

Weights and inputs are a formula of their index, so that only answers are stored: logits, loss, every gradient,
the loss of each of ten steps of SGD at lr 0.001 and momentum 0.9, and the weights after them.
"""
import os

import torch
import torch.nn.functional as F

from goldens import values, weight_values, write

ROWS, STEPS = 8, 10
SHAPES = {
    'conv1.weight': (6, 3, 5, 5), 'conv1.bias': (6,),
    'conv2.weight': (16, 6, 5, 5), 'conv2.bias': (16,),
    'dense1.weight': (120, 400), 'dense1.bias': (120,),
    'dense2.weight': (84, 120), 'dense2.bias': (84,),
    'dense3.weight': (10, 84), 'dense3.bias': (10,),
}


def weights():
    return {name: torch.tensor(weight_values(t, shape)).requires_grad_() for t, (name, shape) in enumerate(SHAPES.items())}


def forward(w, x):
    x = F.max_pool2d(F.relu(F.conv2d(x, w['conv1.weight'], w['conv1.bias'])), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w['conv2.weight'], w['conv2.bias'])), 2).flatten(1)
    x = F.relu(F.linear(x, w['dense1.weight'], w['dense1.bias']))
    x = F.relu(F.linear(x, w['dense2.weight'], w['dense2.bias']))
    return F.linear(x, w['dense3.weight'], w['dense3.bias'])


torch.set_num_threads(1)
torch.manual_seed(0)
w = weights()
x = torch.tensor(values(100, ROWS * 3072).reshape(ROWS, 3, 32, 32)) * 2
y = torch.arange(ROWS) * 3 % 10
opt = torch.optim.SGD(w.values(), lr=0.001, momentum=0.9)
losses, out = [], {}
for step in range(STEPS):
    opt.zero_grad()
    logits = forward(w, x)
    loss = F.cross_entropy(logits, y)
    loss.backward()
    losses.append(loss.item())
    if step == 0:
        out['logits'] = logits.clone()
        for name in SHAPES:
            out['gradient.' + name] = w[name].grad.clone()
    opt.step()
for name in SHAPES:
    out['after.' + name] = w[name]
out['losses'] = torch.tensor(losses)
write(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lenet.safetensors'), out,
      {'torch': torch.__version__, 'rows': str(ROWS), 'steps': str(STEPS)})
print('losses', losses)
