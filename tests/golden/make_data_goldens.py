#!/usr/bin/python3
"""Makes tests/golden/data/: tiny data files by numpy, gzip and Python's avro, for tests/worker/data/golden_test.c.
Needs Debian's python3-numpy and python3-avro; run from the repository's root. The files are checked in: tests
do not run this. Values: x[i] = i * 7 % 251 counted in C order; labels[i] = 3 * i % 10; targets[i] = i / 4."""
import datetime
import gzip
import io
import os
import struct

import avro.datafile
import avro.io
import avro.schema
import numpy as np
from numpy.lib import format as npy

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
N, SHAPE = 5, (5, 3, 4, 2)


def values(shape, dtype):
    return (np.arange(int(np.prod(shape))) * 7 % 251).reshape(shape).astype(dtype)


def path(name):
    return os.path.join(HERE, name)


def write_npy(name, array, version=None):
    with open(path(name), "wb") as f:
        npy.write_array(f, array, version=version)


def idx(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + b"".join(struct.pack(">I", d) for d in array.shape) + array.tobytes()


def put(name, data):
    with open(path(name), "wb") as f:
        f.write(data)


def sample(first, count, labelled=True):
    x, y = values(SHAPE, "u1")[first:first + count], LABELS[first:first + count]
    tensor = {"name": "", "dtype": "UINT8", "shape": [count, *SHAPE[1:]], "data": x.tobytes()}
    return {"tensors": [tensor], "images": None, "labels": [int(v) for v in y] if labelled else [],
            "targets": None, "row_ids": []}


def request(first, count):
    record = {"id": "r%d" % first, "model": "digits", "external": None, "created_at": datetime.datetime.fromtimestamp(0, datetime.timezone.utc), "deadline_at": None,
              "top_k": 1, "return_outputs": False, "explain": False, "parameters": {"a": "b"}}
    s = sample(first, count)
    return {**record, "tensors": s["tensors"], "images": None, "row_ids": ["x"] * count}


def container(name, schema, records, codec):
    out = io.BytesIO()
    writer = avro.datafile.DataFileWriter(out, avro.io.DatumWriter(), schema, codec=codec)
    for r in records:
        writer.append(r)
        writer.sync()
    writer.flush()
    put(name, out.getvalue())


os.makedirs(HERE, exist_ok=True)
LABELS = np.arange(N) * 3 % 10
X = values(SHAPE, "u1")
for t in ("b1", "u1", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"):
    write_npy("x_%s.npy" % t.strip("<"), values(SHAPE, t))
write_npy("v2.npy", values((5, 6), "<f4"), (2, 0))
write_npy("v3.npy", values((5, 6), "<f4"), (3, 0))
write_npy("one.npy", values((5,), "<f4"))
write_npy("grey.npy", values((5, 4, 3), "u1"))
write_npy("none.npy", values((0, 6), "<f4"))
write_npy("fortran.npy", np.asfortranarray(values((5, 6), "<f4")))
write_npy("big.npy", values((5, 6), ">f4"))
write_npy("unsigned.npy", values((5, 6), "<u2"))
write_npy("scalar.npy", np.float32(3))
write_npy("complex.npy", values((5, 6), "<c8"))
write_npy("structured.npy", np.zeros(3, [("a", "<i4"), ("b", "<f4")]))
with open(path("object.npy"), "wb") as f:
    np.save(f, np.array([{}, None], dtype=object), allow_pickle=True)

np.savez(path("stored.npz"), x=X, y=LABELS)
np.savez_compressed(path("deflated.npz"), images=X, labels=LABELS.astype("u1"))
np.savez_compressed(path("targets.npz"), data=X.astype("<f4"), targets=(np.arange(N * 2) / 4).reshape(N, 2))
np.savez(path("nameless.npz"), x_train=X, y_train=LABELS)
np.savez(path("mismatch.npz"), x=X, y=LABELS[:4])

GREY = values((N, 4, 3), "u1")
put("small-images-idx3-ubyte", idx(GREY))
put("small-labels-idx1-ubyte", idx(LABELS.astype("u1")))
put("packed-images-idx3-ubyte.gz", gzip.compress(idx(GREY), mtime=0))
put("packed-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS.astype("u1")), mtime=0))
put("alone.idx", idx(GREY))

with open("schemas/Sample.avsc") as f:
    SAMPLE = avro.schema.parse(f.read())
with open("schemas/InferenceBatch.avsc") as f:
    REQUEST = avro.schema.parse(f.read())
container("samples.avro", SAMPLE, [sample(0, 2), sample(2, 0), sample(2, 3)], "null")
container("deflated.avro", SAMPLE, [sample(0, 2), sample(2, 3)], "deflate")
container("requests.avro", REQUEST, [request(0, 4), request(4, 1)], "deflate")
container("mixed.avro", SAMPLE, [sample(0, 2), sample(2, 3, labelled=False)], "null")
container("other.avro", avro.schema.parse('{"type": "record", "name": "Sample", "fields": [{"name": "a", "type": "int"}]}'),
          [{"a": 1}], "null")
