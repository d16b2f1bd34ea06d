"""What the scripts that make goldens share: values that are a formula of their index, and a safetensors file."""
import json
import struct

import numpy


def values(tensor, n):
    """n floats in [-0.5, 0.5): 24 bits of a multiplicative hash of the index. tests/lib/golden.c has the same."""
    i = numpy.arange(n, dtype=numpy.uint64)
    h = (i * 2654435761 + tensor * 40503 + 12345) & 0xffffffff
    h = ((h ^ (h >> numpy.uint64(15))) * 2246822519) & 0xffffffff
    h = h ^ (h >> numpy.uint64(13))
    return ((h >> numpy.uint64(8)).astype(numpy.float64) / 2**24 - 0.5).astype(numpy.float32)


def weight_values(tensor, shape):
    """Values of a parameter, scaled by 2^-k, the power of two nearest below 2 / sqrt(fan_in): exact in float32."""
    n = int(numpy.prod(shape))
    fan_in = int(numpy.prod(shape[1:])) if len(shape) > 1 else 64
    scale = 2.0 ** numpy.floor(numpy.log2(2 / numpy.sqrt(fan_in)))
    return (values(tensor, n) * numpy.float32(scale)).reshape(shape)


def write(path, tensors, metadata):
    header, data = {'__metadata__': metadata}, b''
    for name, t in tensors.items():
        a = numpy.ascontiguousarray(t.detach().numpy(), dtype='<f4')
        header[name] = {'dtype': 'F32', 'shape': list(a.shape), 'data_offsets': [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)
