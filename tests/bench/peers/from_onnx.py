#!/usr/bin/python3
"""The networks of our ONNX files as PyTorch modules: from_onnx.py MODEL.onnx CxHxW OUT writes OUT.forward.pt (traced, frozen)
and OUT.train.pt (traced in training mode). Knows the operators of the shipped networks; others are an error.
Needs Debian's python3-torch and python3-onnx. The module is made of torch.fx nodes, so that calling it runs compiled Python as
if it had been written by hand."""
import operator
import sys

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import fx, nn


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def parameter(array):
    return nn.Parameter(torch.from_numpy(array.copy()))


def conv(a, x, w, b=None):
    pads = a.get('pads', [0, 0, 0, 0])
    assert pads[:2] == pads[2:], 'lopsided padding'
    groups = a.get('group', 1)
    m = nn.Conv2d(w.shape[1] * groups, w.shape[0], w.shape[2:], a.get('strides', [1, 1]), pads[:2],
                  a.get('dilations', [1, 1]), groups, b is not None)
    m.weight = parameter(w)
    if b is not None:
        m.bias = parameter(b)
    return m


def norm(a, x, scale, bias, mean, var):
    m = nn.BatchNorm2d(len(scale), a.get('epsilon', 1e-5), 1 - a.get('momentum', 0.9))
    m.weight, m.bias = parameter(scale), parameter(bias)
    m.running_mean, m.running_var = torch.from_numpy(mean.copy()), torch.from_numpy(var.copy())
    return m


def dense(a, x, w, b=None):
    w = w if a.get('transB', 0) else w.T
    m = nn.Linear(w.shape[1], w.shape[0], b is not None)
    m.weight = parameter(w)
    if b is not None:
        m.bias = parameter(b)
    return m


def maxpool(a, x):
    pads = a.get('pads', [0, 0, 0, 0])
    assert pads[:2] == pads[2:], 'lopsided padding'
    return nn.MaxPool2d(a['kernel_shape'], a.get('strides', [1, 1]), pads[:2], ceil_mode=bool(a.get('ceil_mode', 0)))


def clip(a, x, low=None, high=None):
    low, high = a.get('min', low), a.get('max', high)
    assert (float(low), float(high)) == (0, 6), 'clip other than ReLU6'
    return nn.ReLU6(True)


# An activation in place, as networks are written by hand: its input has one reader here.
MODULES = {
    'Conv': conv,
    'BatchNormalization': norm,
    'Gemm': dense,
    'MaxPool': maxpool,
    'Clip': clip,
    'Relu': lambda a, x: nn.ReLU(True),
    'GlobalAveragePool': lambda a, x: nn.AdaptiveAvgPool2d(1),
    'Flatten': lambda a, x: nn.Flatten(1),
    'Dropout': lambda a, x, rate=0.5, training=None: nn.Dropout(float(rate)),
}


def load(path):
    """A GraphModule with the file's weights."""
    g = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in g.initializer}
    out, modules = fx.Graph(), {}
    values = {i.name: out.placeholder('x') for i in g.input if i.name not in constants}
    for n in g.node:
        if n.op_type == 'Constant':
            constants[n.output[0]] = numpy_helper.to_array(attributes(n)['value'])
        elif n.op_type == 'Identity':
            values[n.output[0]] = values[n.input[0]]
        elif n.op_type == 'Add':
            values[n.output[0]] = out.call_function(operator.add, tuple(values[i] for i in n.input))
        elif n.op_type in MODULES:
            name = f'm{len(modules)}'
            args = [constants.get(i) for i in n.input[1:]]
            modules[name] = MODULES[n.op_type](attributes(n), None, *args)
            values[n.output[0]] = out.call_module(name, (values[n.input[0]],))
        else:
            sys.exit(f'{path}: node {n.name}: operator {n.op_type} is not known here')
    out.output(values[g.output[0].name])
    return fx.GraphModule(nn.ModuleDict(modules), out)


def main():
    torch.set_num_threads(1)
    path, shape, to = sys.argv[1], [int(d) for d in sys.argv[2].split('x')], sys.argv[3]
    x = torch.rand(2, *shape)
    with torch.no_grad():
        torch.jit.freeze(torch.jit.trace(load(path).eval(), x)).save(to + '.forward.pt')
    torch.jit.trace(load(path).train(), x, check_trace=False).save(to + '.train.pt')


if __name__ == '__main__':
    main()
