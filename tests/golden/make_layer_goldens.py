#!/usr/bin/python3
"""Every layer in PyTorch, forward and backward: what layer_golden_test.c is held against.

    apt-get install python3-torch; python3 tests/golden/make_layer_goldens.py    (writes tests/golden/layers.safetensors)

A case is a network in our YAML, which travels as metadata, and the same in PyTorch. Most put one layer between a
convolution, in whose gradients the layer's gradient to its input is seen, and a dense layer. Weights and inputs are a
formula of their index (goldens.py). Stored: output, mean loss, every gradient, running statistics afterwards.
"""
import os

import torch
import torch.nn.functional as F

from goldens import values, weight_values, write

ROWS = 3
FIRST = '  - conv: {filters: 4, kernel: 2, padding: 1}\n'
LAST = '  - dense: {units: 3}\n'


class Net:
    """Parameters by name, made when they are first asked for, which is our order: by layer, then by place."""

    def __init__(self):
        self.w, self.state, self.count = {}, {}, 0

    def param(self, name, shape):
        self.w[name] = torch.tensor(weight_values(self.count, shape)).requires_grad_()
        self.count += 1
        return self.w[name]

    def conv(self, x, filters, kernel, name='conv1', bias=True, groups=1, pad=None, **more):
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        w = self.param(name + '.weight', (filters, x.shape[1] // groups) + kernel)
        b = self.param(name + '.bias', (filters,)) if bias else None
        return F.conv2d(F.pad(x, pad) if pad else x, w, b, groups=groups, **more)

    def dense(self, x, units, name='dense1', bias=True):
        x = x.flatten(1)
        w = self.param(name + '.weight', (units, x.shape[1]))
        return F.linear(x, w, self.param(name + '.bias', (units,)) if bias else None)

    def norm(self, x, name='batchnorm1', momentum=0.1, eps=1e-5):
        c = x.shape[1]
        w, b = self.param(name + '.weight', (c,)), self.param(name + '.bias', (c,))
        mean, var = torch.zeros(c), torch.ones(c)
        self.count += 2  # the states have their places, but begin with 0 and 1
        self.state[name + '.running_mean'], self.state[name + '.running_var'] = mean, var
        return F.batch_norm(x, mean, var, w, b, training=True, momentum=momentum, eps=eps)


# name, input, what stands between the first and the last layer, the same in PyTorch
BETWEEN = [
    ('relu', '  - relu\n', lambda n, x: F.relu(x)),
    ('tanh', '  - tanh\n', lambda n, x: torch.tanh(x)),
    ('sigmoid', '  - sigmoid\n', lambda n, x: torch.sigmoid(x)),
    ('relu6', '  - mul: {shape: [1, 1, 1]}\n  - relu6\n',
     lambda n, x: F.relu6(x * n.param('mul1.operand', (1, 1, 1)))),
    ('hard_swish', '  - hard_swish\n', lambda n, x: F.hardswish(x)),
    ('softplus', '  - softplus\n', lambda n, x: F.softplus(x)),
    ('silu', '  - silu\n', lambda n, x: F.silu(x)),
    ('exp', '  - exp\n', lambda n, x: torch.exp(x)),
    ('log', '  - sigmoid\n  - log\n', lambda n, x: torch.log(torch.sigmoid(x))),
    ('sqrt', '  - exp\n  - sqrt\n', lambda n, x: torch.sqrt(torch.exp(x))),
    ('abs', '  - abs\n', lambda n, x: torch.abs(x)),
    ('neg', '  - neg\n', lambda n, x: -x),
    ('leaky_relu', '  - leaky_relu: {alpha: 0.2}\n', lambda n, x: F.leaky_relu(x, 0.2)),
    ('elu', '  - elu: {alpha: 0.7}\n', lambda n, x: F.elu(x, 0.7)),
    ('hard_sigmoid', '  - hard_sigmoid: {alpha: 0.16666667, beta: 0.5}\n', lambda n, x: F.hardsigmoid(x)),
    ('clip', '  - clip: {min: -0.125, max: 0.25}\n', lambda n, x: torch.clamp(x, -0.125, 0.25)),
    ('gelu', '  - gelu\n', lambda n, x: F.gelu(x)),
    ('gelu tanh', '  - gelu: {approximate: tanh}\n', lambda n, x: F.gelu(x, approximate='tanh')),
    ('prelu', '  - prelu: {shape: [4, 1, 1]}\n', lambda n, x: F.prelu(x, n.param('prelu1.slope', (4, 1, 1)).flatten())),
    ('softmax of channels', '  - softmax\n', lambda n, x: torch.softmax(x, 1)),
    ('softmax of lines', '  - tanh\n  - softmax: {axis: -1}\n', lambda n, x: torch.softmax(torch.tanh(x), 3)),
    ('log_softmax', '  - tanh\n  - log_softmax: {axis: 1}\n', lambda n, x: torch.log_softmax(torch.tanh(x), 2)),
    ('lrn', '  - lrn: {size: 3, alpha: 0.5, beta: 0.6, bias: 1.5}\n',
     lambda n, x: F.local_response_norm(x, 3, 0.5, 0.6, 1.5)),
    ('flatten', '  - flatten\n  - tanh\n', lambda n, x: torch.tanh(x.flatten(1))),
    ('dropout of nothing', '  - dropout: {rate: 0}\n', lambda n, x: F.dropout(x, 0)),
    ('maxpool', '  - maxpool: {size: 3, stride: 2, padding: 1}\n', lambda n, x: F.max_pool2d(x, 3, 2, 1)),
    ('maxpool, ceil', '  - maxpool: {size: 2, ceil: true}\n', lambda n, x: F.max_pool2d(x, 2, ceil_mode=True)),
    ('avgpool', '  - avgpool: {size: 3, stride: 2, padding: 1}\n',
     lambda n, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    ('avgpool, padding counts', '  - avgpool: {size: [2, 3], stride: [2, 3], padding: 1, ceil: true, count_padding: true}\n',
     lambda n, x: F.avg_pool2d(x, (2, 3), (2, 3), 1, ceil_mode=True)),
    ('global_avgpool', '  - global_avgpool\n', lambda n, x: x.mean((2, 3))),
    ('global_maxpool', '  - global_maxpool\n', lambda n, x: x.amax((2, 3))),
    ('conv, stride over kernel', '  - conv: {filters: 5, kernel: 2, stride: 3, bias: false, activation: tanh}\n',
     lambda n, x: torch.tanh(n.conv(x, 5, 2, 'conv2', bias=False, stride=3))),
    ('conv, padding, stride', '  - conv: {filters: 5, kernel: [3, 2], stride: [2, 1], padding: [1, 0, 2, 1]}\n',
     lambda n, x: n.conv(x, 5, (3, 2), 'conv2', stride=(2, 1), pad=(0, 1, 1, 2))),
    ('conv, dilation, groups', '  - conv: {filters: 6, kernel: 2, groups: 2, dilation: 2}\n',
     lambda n, x: n.conv(x, 6, 2, 'conv2', groups=2, dilation=2)),
    ('conv, depthwise', '  - conv: {filters: 4, kernel: 3, groups: 4, padding: 1}\n',
     lambda n, x: n.conv(x, 4, 3, 'conv2', groups=4, padding=1)),
    ('dense', '  - dense: {units: 7, activation: tanh}\n', lambda n, x: torch.tanh(n.dense(x, 7))),
    ('add', '  - add: {shape: [4, 1, 1]}\n', lambda n, x: x + n.param('add1.operand', (4, 1, 1))),
    ('sub', '  - sub: {shape: [7], first: true}\n', lambda n, x: n.param('sub1.operand', (7,)) - x),
    ('mul', '  - mul: {shape: [4, 1, 1]}\n', lambda n, x: x * n.param('mul1.operand', (4, 1, 1))),
    ('div', '  - sigmoid\n  - div: {shape: [4, 6, 7], first: true}\n',
     lambda n, x: n.param('div1.operand', (4, 6, 7)) / torch.sigmoid(x)),
    ('transpose', '  - transpose: {perm: [2, 0, 1]}\n  - tanh\n', lambda n, x: torch.tanh(x.permute(0, 3, 1, 2))),
    ('reshape', '  - reshape: {shape: [2, -1]}\n  - transpose\n', lambda n, x: x.reshape(ROWS, 2, -1).transpose(1, 2)),
    ('squeeze, unsqueeze', '  - unsqueeze: {axes: [0, 2]}\n  - squeeze: {axes: [0]}\n  - tanh\n',
     lambda n, x: torch.tanh(x.unsqueeze(2))),
    ('slice', '  - slice: {starts: [1, -1, 0], ends: [4, -9, 9], steps: [1, -1, 2]}\n',
     lambda n, x: x[:, 1:4, :, ::2].flip(2)),
    ('gather', '  - gather: {axis: 0, indices: [3, 0, 3, -1]}\n  - tanh\n',
     lambda n, x: torch.tanh(x[:, [3, 0, 3, -1]])),
    ('pad', '  - pad: {pads: [0, 1, 2, 0, 0, 1], value: 0.5}\n  - tanh\n',
     lambda n, x: torch.tanh(F.pad(x, (2, 1, 1, 0), value=0.5))),
    ('pad, edge', '  - pad: {pads: [0, 1, 2, 0, 0, 1], mode: edge}\n  - tanh\n',
     lambda n, x: torch.tanh(F.pad(x, (2, 1, 1, 0), mode='replicate'))),
    ('pad, reflect', '  - pad: {pads: [0, 1, 2, 0, 0, 1], mode: reflect}\n  - tanh\n',
     lambda n, x: torch.tanh(F.pad(x, (2, 1, 1, 0), mode='reflect'))),
    ('reduce_mean', '  - reduce_mean: {axes: [1, 2]}\n', lambda n, x: x.mean((2, 3))),
    ('reduce_sum', '  - reduce_sum: {axes: [0], keepdims: false}\n', lambda n, x: x.sum(1)),
    ('reduce_max', '  - reduce_max: {axes: [1]}\n', lambda n, x: x.amax(2)),
    ('reduce_min', '  - reduce_min: {axes: [0, 2]}\n', lambda n, x: x.amin((1, 3))),
]


def branches(n, x):
    a = n.conv(x, 3, 3, 'a', padding=1)
    b = torch.tanh(n.conv(a, 3, 3, 'b', padding=1))
    c = n.conv(a, 3, 1, 'c')
    return n.dense(a + b + c + b, 3)


def gate(n, x):
    a = n.conv(x, 4, 1, 'a')
    b = torch.sigmoid(n.conv(a, 4, (5, 6), 'b'))
    return n.dense(a * b / (b + n.param('add1.operand', (1, 1, 1))) - b, 3)


def concat(n, x):
    a = n.conv(x, 3, 1, 'a')
    b = torch.tanh(n.conv(a, 1, 1, 'b'))
    return n.dense(torch.cat((torch.cat((b, a, b), 1), torch.cat((a, a[:, [0]], b), 1)), 3), 3)


def choices(n, x):
    a = n.conv(x, 4, 1)
    return n.dense(a * a.argmax(1, True) + a * a.argmin(3, True), 3)


def residual(n, x):
    a = F.relu(n.norm(n.conv(x, 4, 3, 'conv1', bias=False, padding=1)))
    b = F.relu(n.norm(n.conv(a, 8, 3, 'conv2', bias=False, stride=2, padding=1), 'batchnorm2'))
    b = n.norm(n.conv(b, 8, 3, 'conv3', bias=False, padding=1), 'batchnorm3')
    s = n.norm(n.conv(a, 8, 1, 'down', bias=False, stride=2), 'downnorm')
    return n.dense(F.relu(b + s).mean((2, 3)), 3)


WHOLE = [
    ('softmax', (2, 5, 6), FIRST + LAST + '  - softmax\n',
     lambda n, x: torch.softmax(n.dense(n.conv(x, 4, 2, padding=1), 3), 1), 'mse'),
    ('branches', (2, 4, 4),
     '  - {conv: {filters: 3, kernel: 3, padding: 1}, name: a}\n'
     '  - {conv: {filters: 3, kernel: 3, padding: 1, activation: tanh}, name: b}\n'
     '  - {conv: {filters: 3, kernel: 1}, name: c, from: [a]}\n'
     '  - {add: , from: [a, b, c, b]}\n' + LAST, branches, 'cross_entropy'),
    ('gate', (2, 5, 6),
     '  - {conv: {filters: 4, kernel: 1}, name: a}\n'
     '  - {conv: {filters: 4, kernel: [5, 6], activation: sigmoid}, name: b}\n'
     '  - {mul: , name: ab, from: [a, b]}\n'
     '  - {add: {shape: [1, 1, 1]}, from: [b]}\n'
     '  - {div: , from: [ab, add1]}\n  - {sub: , from: [div1, b]}\n' + LAST, gate, 'cross_entropy'),
    ('concat', (2, 4, 3),
     '  - {conv: {filters: 3, kernel: 1}, name: a}\n  - {conv: {filters: 1, kernel: 1, activation: tanh}, name: b}\n'
     '  - {concat: , from: [b, a, b], name: c}\n  - {slice: {starts: [0], ends: [1]}, from: [a], name: s}\n'
     '  - {concat: {axis: 0}, from: [a, s, b], name: d}\n  - {concat: {axis: -1}, from: [c, d]}\n' + LAST, concat,
     'cross_entropy'),
    ('argmax, argmin', (2, 4, 6),
     '  - conv: {filters: 4, kernel: 1}\n  - {argmax: {axis: 0}, name: a}\n'
     '  - {argmin: {axis: 2}, from: [conv1], name: b}\n'
     '  - {mul: , from: [conv1, a], name: ax}\n  - {mul: , from: [conv1, b], name: bx}\n'
     '  - {add: , from: [ax, bx]}\n' + LAST, choices, 'cross_entropy'),
    ('batchnorm', (2, 5, 6), '  - conv: {filters: 4, kernel: 2, padding: 1, bias: false}\n  - batchnorm\n' + LAST,
     lambda n, x: n.dense(n.norm(n.conv(x, 4, 2, bias=False, padding=1)), 3), 'cross_entropy'),
    ('batchnorm and relu', (2, 5, 6),
     '  - conv: {filters: 4, kernel: 2, bias: false}\n'
     '  - batchnorm: {activation: relu, momentum: 0.25, epsilon: 0.001}\n' + LAST,
     lambda n, x: n.dense(F.relu(n.norm(n.conv(x, 4, 2, bias=False), momentum=0.25, eps=0.001)), 3), 'cross_entropy'),
    ('residual block of ResNet', (3, 8, 8),
     '  - conv: {filters: 4, kernel: 3, padding: 1, bias: false}\n'
     '  - batchnorm: {activation: relu}\n'
     '  - conv: {filters: 8, kernel: 3, stride: 2, padding: 1, bias: false}\n'
     '  - batchnorm: {activation: relu}\n'
     '  - conv: {filters: 8, kernel: 3, padding: 1, bias: false}\n  - batchnorm\n'
     '  - {conv: {filters: 8, kernel: 1, stride: 2, bias: false}, name: down, from: [batchnorm1]}\n'
     '  - {batchnorm: , name: downnorm}\n'
     '  - {add: , from: [batchnorm3, downnorm]}\n  - relu\n  - global_avgpool\n' + LAST, residual, 'cross_entropy'),
]


def run(out, meta, name, shape, layers, forward, loss):
    n = Net()
    x = torch.tensor(values(100, ROWS * int(torch.tensor(shape).prod())).reshape((ROWS,) + shape)) * 2
    y = forward(n, x)
    if loss == 'mse':
        mean = F.mse_loss(y, torch.tensor(values(101, y.numel()).reshape(y.shape)))
    else:
        mean = F.cross_entropy(y, torch.arange(ROWS) * 2 % y.shape[1])
    mean.backward()
    out[name + '/output'], out[name + '/loss'] = y, mean.reshape(1)
    for k, w in n.w.items():
        out[name + '/gradient.' + k] = w.grad
    for k, s in n.state.items():
        out[name + '/after.' + k] = s
    meta[name] = loss + '\ninput: ' + str(list(shape)) + '\nlayers:\n' + layers
    return name


torch.set_num_threads(1)
out, meta, names = {}, {'torch': torch.__version__}, []
for name, yaml, f in BETWEEN:
    names.append(run(out, meta, name, (2, 5, 6), FIRST + yaml + LAST,
                     lambda n, x, f=f: n.dense(f(n, n.conv(x, 4, 2, padding=1)), 3, 'dense2' if name == 'dense' else 'dense1'),
                     'cross_entropy'))
for case in WHOLE:
    names.append(run(out, meta, *case))
meta['cases'] = '\n'.join(names) + '\n'
write(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'layers.safetensors'), out, meta)
print(len(names), 'cases,', sum(t.numel() for t in out.values()), 'numbers')
