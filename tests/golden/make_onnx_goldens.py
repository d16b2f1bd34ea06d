#!/usr/bin/python3
"""Makes tests/golden/onnx/: models as PyTorch and the onnx package write them, each with rows and what PyTorch
answers to them, for tests/engine/files/onnx_golden_test.c. Needs Debian's python3-torch and python3-onnx; run
from anywhere. The files are checked in: tests do not run this."""
import json
import os
import struct

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "onnx")
BATCH = {"input": {0: "batch"}, "output": {0: "batch"}}


def write_safetensors(path, tensors):
    """The format by hand, so that the reader is tested against other code than its writer."""
    header, data = {"__metadata__": {"made_by": "make_onnx_goldens.py"}}, b""
    for name, t in tensors.items():
        a = np.ascontiguousarray(t.detach().numpy(), "<f4")
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def save_rows(name, x, y):
    write_safetensors(os.path.join(HERE, name + ".safetensors"), {"input": x, "output": y})


def export(name, net, x, opset, fixed=False, **options):
    net.eval()
    torch.onnx.export(net, x, os.path.join(HERE, name + ".onnx"), opset_version=opset, input_names=["input"],
                      output_names=["output"], dynamic_axes=None if fixed else BATCH, **options)
    with torch.no_grad():
        save_rows(name, x, net(x))


class LeNet(nn.Module):
    """The network of config/lenet.yaml."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Mixed(nn.Module):
    """Strides, paddings, groups, dilation, both averages, a skip, dropout, a layer without bias, softmax."""

    def __init__(self, modern):
        super().__init__()
        self.ceil = modern
        self.a = nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False)
        self.b = nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2)
        self.c = nn.Conv2d(8, 8, 1)
        self.fc1 = nn.Linear(8 * 3 * 3, 12, bias=not modern)
        self.fc2 = nn.Linear(12, 5)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        x = torch.tanh(self.a(x))
        x = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        x = torch.sigmoid(self.b(x))
        x = x + self.c(x)
        x = F.avg_pool2d(x, 5, stride=1)
        x = F.max_pool2d(x, 2, ceil_mode=self.ceil, padding=0 if self.ceil else 1)
        x = self.drop(torch.flatten(x, 1))
        x = F.relu(self.fc1(x))
        return F.softmax(self.fc2(x), 1)


class View(nn.Module):
    """x.view(N, -1) with a fixed batch is a Reshape to a constant shape."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(32, 3)

    def forward(self, x):
        x = self.conv(x)
        return torch.sigmoid(self.fc(F.relu(x.view(x.size(0), -1))))


def tensor(name, t, raw):
    a = t.numpy().astype("f4")
    if raw:
        return numpy_helper.from_array(a, name)
    return helper.make_tensor(name, TensorProto.FLOAT, a.shape, a.flatten().tolist())


def odd():
    """What PyTorch does not write but others do: auto_pad, initialisers behind Identity and in Constant nodes,
    listed as inputs, in float_data; Gemm untransposed and scaled; MatMul + Add; a dead node."""
    torch.manual_seed(7)
    x = torch.randn(3, 2, 6, 5)
    w1, b1, w2 = torch.randn(3, 2, 3, 2), torch.randn(3, 1, 1), torch.randn(4, 3, 2, 2)
    w3, b3 = torch.randn(4 * 3 * 3, 6), torch.randn(1)
    w4, b4, w5 = torch.randn(6, 4), torch.randn(4), torch.randn(4, 4)

    y = F.conv2d(F.pad(x, (0, 1, 1, 1)), w1) + b1                       # SAME_UPPER, stride 1
    y = F.avg_pool2d(y, 3, 1, 1)
    y = F.conv2d(F.pad(y, (0, 1, 0, 0)), w2, stride=2)                  # SAME_UPPER, stride 2
    y = 0.5 * torch.flatten(y, 1) @ w3 + 2.0 * b3
    y = torch.tanh(y @ w4 + b4) @ w5

    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "first", auto_pad="SAME_UPPER"),
        helper.make_node("Add", ["b1", "c1"], ["c1b"], "first bias"),
        helper.make_node("Identity", ["w2"], ["w2i"]),
        helper.make_node("Erf", ["c1b"], ["nobody reads this"]),
        helper.make_node("AveragePool", ["c1b"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        helper.make_node("Conv", ["p", "w2i"], ["c2"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Identity", ["c2"], ["c2i"]),
        helper.make_node("Reshape", ["c2i", "to"], ["flat"]),
        helper.make_node("Constant", [], ["w3"], value=tensor("", w3, True)),
        helper.make_node("Constant", [], ["b3"], value_float=float(b3[0])),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["g"], alpha=0.5, beta=2.0),
        helper.make_node("MatMul", ["g", "w4"], ["m"]),
        helper.make_node("Add", ["m", "b4"], ["ma"]),
        helper.make_node("Tanh", ["ma"], ["t"]),
        helper.make_node("MatMul", ["t", "w5"], ["answer"]),
    ]
    constants = [tensor("w1", w1, False), tensor("b1", b1, True), tensor("w2", w2, True),
                 helper.make_tensor("to", TensorProto.INT64, [2], [0, -1]), tensor("w4", w4, False),
                 tensor("b4", b4, True), tensor("w5", w5, True)]
    inputs = [helper.make_tensor_value_info("w1", TensorProto.FLOAT, w1.shape),
              helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 6, 5])]
    outputs = [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_graph(nodes, "odd", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    helper.set_model_props(model, {"author": "nobody", "millrace.labels": '["a","b","c","d"]',
                                   "millrace.mean": "0.5, 0.25", "millrace.std": "0.2,0.3",
                                   "millrace.output": "sigmoid"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, os.path.join(HERE, "odd.onnx"))
    save_rows("odd", x, y)


def main():
    os.makedirs(HERE, exist_ok=True)
    torch.manual_seed(1)
    export("lenet", LeNet(), torch.randn(4, 3, 32, 32), 17)
    for opset in (7, 11, 13, 16):
        torch.manual_seed(opset)
        # Ceil mode came with operator set 10, and the folding of a Transpose of weights with 9; in training mode the Dropout stays in the file.
        keep = torch.onnx.TrainingMode.TRAINING if opset > 11 else torch.onnx.TrainingMode.EVAL
        export("mixed%d" % opset, Mixed(opset > 9), torch.randn(3, 2, 17, 10), opset, training=keep,
               do_constant_folding=opset > 9)
    torch.manual_seed(3)
    export("view", View(), torch.randn(2, 1, 6, 6), 12, fixed=True)
    torch.manual_seed(4)
    export("chain", View(), torch.randn(2, 1, 6, 6), 13)  # Shape, Gather, Unsqueeze, Concat, Reshape
    odd()


if __name__ == "__main__":
    main()
