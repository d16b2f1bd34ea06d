#!/usr/bin/python3
"""Makes tests/fuzz/corpus/onnx, safetensors and schema: a small file for each operator and chain that the readers know, and a few
that are wrong in one place. Needs Debian's python3-onnx; the files are checked in: nothing runs this but its reader."""
import json
import os
import struct

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
rng = np.random.RandomState(5)


def floats(name, *shape):
    return numpy_helper.from_array(rng.randn(*shape).astype("f4"), name)


def ints(name, *values):
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def save(name, nodes, constants, row=(2, 5, 5), out=None, opset=17, props=None):
    graph = helper.make_graph(nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *row])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if props:
        helper.set_model_props(model, props)
    with open(os.path.join(HERE, "onnx", name), "wb") as f:
        f.write(model.SerializeToString())


def node(operator, *inputs, to="y", **attributes):
    return helper.make_node(operator, inputs, [to], **attributes)


def onnx_files():
    for operator in ("Relu Sigmoid Tanh Softplus HardSwish Exp Log Sqrt Abs Neg Identity GlobalAveragePool GlobalMaxPool "
                     "Softmax LogSoftmax Flatten").split():
        save(operator.lower(), [node(operator, "x")], [])
    save("leaky", [node("LeakyRelu", "x", alpha=0.1)], [])
    save("elu", [node("Elu", "x", alpha=0.5)], [])
    save("hard_sigmoid", [node("HardSigmoid", "x", alpha=0.3, beta=0.4)], [])
    save("gelu", [node("Gelu", "x", approximate="tanh")], [], opset=20)
    save("clip6", [node("Clip", "x", min=0.0, max=6.0)], [], opset=10)
    save("clip", [node("Clip", "x", "", "b")], [numpy_helper.from_array(np.float32(2), "b")])
    save("silu", [node("Sigmoid", "x", to="s"), node("Mul", "x", "s")], [])
    half, one, root = (numpy_helper.from_array(np.float32(v), n) for n, v in (("h", .5), ("o", 1), ("r", 2 ** .5)))
    save("gelu_erf", [node("Div", "x", "r", to="d"), node("Erf", "d", to="e"), node("Add", "e", "o", to="a"),
                      node("Mul", "x", "a", to="m"), node("Mul", "m", "h")], [half, one, root])
    save("prelu", [node("PRelu", "x", "s")], [floats("s", 2, 1, 1)])
    save("conv", [node("Conv", "x", "c.weight", "c.bias", to="c", pads=[1, 1, 1, 1]), node("Relu", "c")],
         [floats("c.weight", 3, 2, 3, 3), floats("c.bias", 3)], props={"millrace.labels": "[]", "millrace.mean": "1,2"})
    save("conv1", [node("Conv", "x", "w", kernel_shape=[3], strides=[2])], [floats("w", 3, 2, 3)], row=(2, 7))
    save("conv3", [node("Conv", "x", "w", dilations=[1, 2, 1])], [floats("w", 2, 1, 2, 2, 2)], row=(1, 3, 4, 4))
    save("same", [node("Conv", "x", "w", auto_pad="SAME_LOWER", group=2)], [floats("w", 2, 1, 2, 2)])
    save("maxpool", [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], [])
    save("maxpool3", [node("MaxPool", "x", kernel_shape=[2, 2, 2])], [], row=(1, 3, 3, 3))
    save("pad_average", [node("Pad", "x", "p", to="q"), node("AveragePool", "q", kernel_shape=[3, 3])],
         [ints("p", 0, 0, 1, 1, 0, 0, 1, 1)])
    save("pad_reflect", [node("Pad", "x", mode="reflect", pads=[0, 0, 1, 2, 0, 0, 0, 1])], [], opset=10)
    save("batchnorm", [node("BatchNormalization", "x", "s", "b", "m", "v", epsilon=1e-3)],
         [floats(n, 2) for n in "sbmv"])
    save("lrn", [node("LRN", "x", size=3)], [])
    save("dense", [node("Flatten", "x", to="f"), node("Gemm", "f", "w", "b", alpha=0.5, transB=1, to="g"),
                   node("Tanh", "g", to="t"), node("MatMul", "t", "w2", to="m"), node("Add", "m", "b2")],
         [floats("w", 3, 50), floats("b", 3), floats("w2", 3, 2), floats("b2", 2)])
    save("turned", [node("Transpose", "w", to="wt", perm=[1, 0]), node("Flatten", "x", to="f"),
                    node("MatMul", "f", "wt")], [floats("w", 3, 50)])
    save("matmul", [node("MatMul", "x", "w")], [floats("w", 5, 4)])
    save("chain", [node("Shape", "x", to="s"), node("Gather", "s", "i", to="n"), node("Unsqueeze", "n", "z", to="u"),
                   node("Mul", "u", "k", to="v"), node("Div", "v", "k", to="w"), node("Slice", "s", "i1", "i2", to="c"),
                   node("Concat", "w", "m", "c", axis=0, to="t"), node("Cast", "t", to="t2"), node("Reshape", "x", "t")],
         [helper.make_tensor("i", TensorProto.INT64, [], [0]), ints("z", 0), ints("k", 3), ints("m", -1), ints("i1", 2),
          ints("i2", 3)])
    save("squeeze", [node("Unsqueeze", "x", "a", to="u"), node("Squeeze", "u", "a", to="q"), node("Reshape", "q", "r")],
         [ints("a", 1, 3), ints("r", 0, -1, 2)])
    save("moves", [node("Transpose", "x", perm=[0, 3, 1, 2], to="t"), node("Slice", "t", "b", "e", "a", "s", to="c"),
                   node("Concat", "c", "c", axis=2, to="d"), node("Gather", "d", "g", axis=1)],
         [ints("b", -1), ints("e", -9), ints("a", 1), ints("s", -2), ints("g", 1, 0, 1)])
    save("arithmetic", [node("Add", "x", "c", to="p"), node("Mul", "p", "k", to="q"), node("Sub", "k2", "q", to="r"),
                        node("Div", "r", "k", to="s"), node("Mul", "s", "x", to="u"), node("Sub", "u", "x")],
         [floats("c", 2, 1, 1), floats("k", 5), numpy_helper.from_array(np.float32(1), "k2")])
    save("reduce", [node("ReduceMean", "x", axes=[2, 3], keepdims=0)], [])
    save("argmax", [node("ArgMax", "x", axis=1, keepdims=0)], [])
    save("dropout", [node("Dropout", "x", ratio=0.25)], [], opset=10)
    save("folded", [node("Constant", to="c", value_floats=[1.0, 2.0]), node("Reshape", "c", "r", to="d"),
                    node("Mul", "d", "d", to="e"), node("Concat", "e", "d", axis=0, to="f"),
                    node("Gather", "f", "g", axis=0, to="h"), node("Add", "x", "h")],
         [ints("r", 2, 1, 1), ints("g", 3, 0)])
    save("residual", [node("Conv", "x", "w", to="c", pads=[0, 1, 0, 1]), node("Add", "c", "x", to="a"), node("Relu", "a")],
         [floats("w", 2, 2, 1, 3)])
    save("unknown", [node("Einsum", "x")], [])


def safetensors_files():
    def write(name, header, data):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        with open(os.path.join(HERE, "safetensors", name), "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + data)
    t = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    write("one", {"w": t}, bytes(24))
    write("two", {"__metadata__": {"a": "b"}, "w": t, "b": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}}, bytes(32))
    write("types", {d: {"dtype": d, "shape": [1], "data_offsets": [k, k + n]} for d, k, n in
                    (("U8", 0, 1), ("I8", 1, 1), ("BOOL", 2, 1), ("F16", 3, 2), ("BF16", 5, 2), ("F64", 7, 8))}, bytes(15))
    write("empty", {}, b"")
    write("nothing", {"w": {"dtype": "F32", "shape": [0, 7], "data_offsets": [0, 0]}}, b"")
    write("overlap", {"w": t, "v": t}, bytes(24))
    write("huge", {"w": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 24]}}, bytes(24))
    write("cut", b'{"w":{"dtype":"F32","shape":[2', b"")


TYPES = ["InferenceBatch", "Sample", "Prediction", "TrainingJob", "LossMetric", "ModelVersionEvent", "JobCheckpoint"]


def schema_files():
    """What tests/vectors/make_writers.py made, behind the byte of its type."""
    writers = os.path.join(HERE, "..", "..", "vectors", "writers")
    for name in sorted(n[:-5] for n in os.listdir(writers) if n.endswith(".avsc")):
        kind, case = name.split(".")
        if case in ("bare", "less", "elsewhere") or kind in TYPES[5:]:
            continue
        with open(os.path.join(writers, name + ".avsc"), "rb") as f:
            schema = json.dumps(json.loads(f.read()), separators=(",", ":")).encode()
        with open(os.path.join(writers, name + ".bin"), "rb") as f:
            value = f.read()
        with open(os.path.join(HERE, "schema", name), "wb") as f:
            f.write(bytes([TYPES.index(kind)]) + schema + b"\0" + value)


if __name__ == "__main__":
    for folder in ("onnx", "safetensors", "schema"):
        os.makedirs(os.path.join(HERE, folder), exist_ok=True)
    onnx_files()
    safetensors_files()
    schema_files()
