#!/usr/bin/python3
"""The other half of tests/engine/files/round_trip_test.c, which runs it; fresh files, nothing is checked in.
    round_trip.py make FOLDER     NAME.onnx and NAME.safetensors (rows, and what PyTorch answers) of known networks
    round_trip.py check FOLDER    every NAME.ours.onnx: onnx's checker, and OpenCV's answers against ours
                                  (NAME.ours.safetensors)
Needs Debian's python3-torch, python3-onnx and python3-opencv."""
import json
import os
import struct
import sys

import numpy as np


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, a in tensors.items():
        a = np.ascontiguousarray(a, "<f4")
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    return {name: np.frombuffer(data[slice(*t["data_offsets"])], "<f4").reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


# ---- networks as their papers and torchvision have them ----

def networks():
    import torch
    from torch import nn
    import torch.nn.functional as F

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = x.view(x.size(0), -1)
            return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    class VGG11(nn.Module):
        """With batch norm; the classifier is small, as for CIFAR."""

        def __init__(self):
            super().__init__()
            layers, channels = [], 3
            for k in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
                if k == "M":
                    layers.append(nn.MaxPool2d(2, 2))
                else:
                    layers += [nn.Conv2d(channels, k, 3, padding=1), nn.BatchNorm2d(k), nn.ReLU(inplace=True)]
                    channels = k
            self.features = nn.Sequential(*layers)
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.classifier = nn.Sequential(nn.Linear(512, 256), nn.ReLU(True), nn.Dropout(), nn.Linear(256, 10))

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    class Basic(nn.Module):
        def __init__(self, c, k, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(c, k, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(k)
            self.conv2 = nn.Conv2d(k, k, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(k)
            self.downsample = None
            if stride != 1 or c != k:
                self.downsample = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k))

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet18(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            blocks, c = [], 64
            for k, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
                blocks.append(Basic(c, k, stride))
                c = k
            self.layers = nn.Sequential(*blocks)
            self.fc = nn.Linear(512, 100)

        def forward(self, x):
            x = self.layers(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    class Inverted(nn.Module):
        def __init__(self, c, k, stride, expand):
            super().__init__()
            self.skip = stride == 1 and c == k
            hidden, layers = c * expand, []
            if expand != 1:
                layers += [nn.Conv2d(c, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)]
            layers += [nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden),
                       nn.ReLU6(inplace=True), nn.Conv2d(hidden, k, 1, bias=False), nn.BatchNorm2d(k)]
            self.conv = nn.Sequential(*layers)

        def forward(self, x):
            return x + self.conv(x) if self.skip else self.conv(x)

    class MobileNetV2(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6(inplace=True)]
            c = 32
            for t, k, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                               (6, 320, 1, 1)):
                for i in range(n):
                    layers.append(Inverted(c, k, s if i == 0 else 1, t))
                    c = k
            layers += [nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6(inplace=True)]
            self.features = nn.Sequential(*layers)
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 100))

        def forward(self, x):
            return self.classifier(self.features(x).mean([2, 3]))

    # name, network, pixels, operator set, whether batch norm stays apart
    return [("lenet", LeNet, 32, 17, False), ("vgg11_bn", VGG11, 32, 13, True), ("resnet18", ResNet18, 64, 17, False),
            ("resnet18_apart", ResNet18, 64, 11, True), ("mobilenetv2", MobileNetV2, 64, 17, False),
            ("mobilenetv2_apart", MobileNetV2, 64, 9, True)]


def seeded(net, seed):
    """Weights as they are drawn; statistics that are not those of a fresh network."""
    import torch
    from torch import nn
    torch.manual_seed(seed)
    net = net()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -0.5, 0.5)
            nn.init.uniform_(m.running_mean, -0.5, 0.5)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
        elif isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="relu")
    return net.eval()


def make(folder):
    import warnings
    import torch
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for seed, (name, net, size, opset, apart) in enumerate(networks()):
        net = seeded(net, seed)
        x = torch.randn(3, 3, size, size)
        torch.onnx.export(net, x, os.path.join(folder, name + ".onnx"), opset_version=opset, input_names=["input"],
                          output_names=["output"], dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                          training=torch.onnx.TrainingMode.PRESERVE if apart else torch.onnx.TrainingMode.EVAL,
                          do_constant_folding=not apart)
        with torch.no_grad():
            write_safetensors(os.path.join(folder, name + ".safetensors"),
                              {"input": x.numpy(), "output": net(x).numpy()})


def clip_attributes(model):
    """OpenCV 4.6 reads Clip only with its bounds as attributes, as they were until operator set 10; nor can it read
    PyTorch's own files of later sets. Says how many were turned."""
    from onnx import helper, numpy_helper
    constants = {t.name: t for t in model.graph.initializer}
    turned = 0
    for n in model.graph.node:
        if n.op_type == "Clip":
            bounds = [(key, float(numpy_helper.to_array(constants[name])))
                      for key, name in zip(("min", "max"), list(n.input)[1:]) if name]
            del n.input[1:]
            n.attribute.extend(helper.make_attribute(key, v) for key, v in bounds)
            turned += 1
    return turned


def check(folder):
    import cv2
    import onnx
    checked = 0
    cv2.setNumThreads(1)
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".ours.onnx"):
            continue
        path = os.path.join(folder, file)
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version == 8 and model.opset_import[0].version == 17, file
        rows = read_safetensors(path.replace(".onnx", ".safetensors"))
        turned = clip_attributes(model)
        net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8) if turned else path)
        net.setInput(rows["input"])
        theirs, ours = net.forward().reshape(rows["output"].shape), rows["output"]
        difference, largest = np.abs(theirs - ours).max(), np.abs(ours).max()
        print("%s in OpenCV: max|a-b| %.2g, max|b| %.2g" % (file, difference, largest))
        assert largest > 0 and difference <= 1e-4 * largest, file
        checked += 1
    assert checked >= 12, "%d files, expected 6 of PyTorch's networks and 6 that are shipped" % checked


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
