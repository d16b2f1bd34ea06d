"""The pipeline that a user of Python would write: confluent-kafka and PyTorch, batched, at least once. Requests (InferenceBatch) in,
Predictions out; Avro by hand, rows as one numpy copy a record, one forward pass a batch, offsets committed behind the flush.
Takes uint8 tensors and answers label, score and the best class, as the bench asks for.
Environment: BENCH_BOOTSTRAP, BENCH_PREFIX, BENCH_GROUP, BENCH_MODEL; BENCH_TORCHSCRIPT, the same model frozen; THREADS (1), BATCH_ROWS (256)."""

import os
import struct
import time

import confluent_kafka
import numpy
import torch

PREFIX = os.environ["BENCH_PREFIX"]
ROWS = int(os.environ.get("BATCH_ROWS", "256"))
FLUSH_ROWS = 16384
torch.set_num_threads(int(os.environ.get("THREADS", "1")))
torch.set_grad_enabled(False)


def number(b, at):
    """A zig-zag varint at b[at]: the value, and where the next field is."""
    v = shift = 0
    while True:
        x = b[at]
        at += 1
        v |= (x & 0x7F) << shift
        if x < 0x80:
            return (v >> 1) ^ -(v & 1), at
        shift += 7


def varint(v):
    z = (v << 1) ^ (v >> 63)
    out = bytearray()
    while z > 0x7F:
        out.append(z & 0x7F | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


def decode(b):
    """id and rows as [n, C, H, W] of uint8, over the record's own bytes."""
    n, at = number(b, 0)
    ident = b[at : at + n]
    n, at = number(b, at + n)
    tensors, at = number(b, at + n)
    n, at = number(b, at)
    dtype, at = number(b, at + n)
    rank, at = number(b, at)
    shape = []
    for _ in range(rank):
        d, at = number(b, at)
        shape.append(d)
    _, at = number(b, at)
    size, at = number(b, at)
    return ident, numpy.frombuffer(b, numpy.uint8, size, at).reshape(shape)


LABELS = [varint(i) for i in range(4096)]
EMPTY = varint(0)
WORKER = varint(6) + b"python"


def encode(ident, labels, scores):
    """A Prediction: rows of {id null, status OK, label, score, top_k of one, error null}."""
    out = [varint(len(ident)), ident, WORKER, varint(1), varint(len(labels))]
    for label, score in zip(labels, scores):
        text = LABELS[label] + struct.pack("<f", score)
        out.append(b"\x00\x02" + text + b"\x02" + text + b"\x00\x00")
    out.append(EMPTY * 6 + WORKER + varint(int(time.time() * 1000)) + EMPTY * 2)
    return b"".join(out)


def main():
    model = torch.jit.load(os.environ["BENCH_TORCHSCRIPT"]).eval()
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": os.environ["BENCH_BOOTSTRAP"],
            "group.id": os.environ["BENCH_GROUP"] + ".python",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.min.bytes": 65536,
            "fetch.wait.max.ms": 20,
            "fetch.message.max.bytes": 4194304,
            "queued.max.messages.kbytes": 131072,
        }
    )
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": os.environ["BENCH_BOOTSTRAP"],
            "enable.idempotence": True,
            "linger.ms": 5,
            "batch.size": 1000000,
            "message.max.bytes": 17825792,
            "queue.buffering.max.messages": 1000000,
        }
    )
    consumer.subscribe([PREFIX + "inference"])
    waiting, unflushed = [], 0
    while True:
        # as many records as make a batch; the first one tells how many rows a record has
        messages = consumer.consume(max(1, ROWS // (waiting or [1])[0]), 0.02)
        batch = [(m, *decode(m.value())) for m in messages if not m.error()]
        if not batch:
            if unflushed:
                producer.flush()
                consumer.commit(asynchronous=False)
                unflushed = 0
            continue
        waiting = [max(1, len(batch[0][2]))]
        x = torch.from_numpy(numpy.concatenate([rows for _, _, rows in batch])).float().div_(255.0)
        score, label = torch.softmax(model(x), 1).max(1)
        labels, scores, at = label.tolist(), score.tolist(), 0
        for m, ident, rows in batch:
            end = at + len(rows)
            producer.produce(
                PREFIX + "predictions",
                encode(ident, labels[at:end], scores[at:end]),
                m.key(),
                m.partition(),
                headers=[
                    ("millrace.schema", b"1"),
                    ("src.topic", m.topic()),
                    ("src.partition", str(m.partition())),
                    ("src.offset", str(m.offset())),
                ],
            )
            at = end
        producer.poll(0)
        unflushed += at
        if unflushed >= FLUSH_ROWS:
            producer.flush()
            consumer.commit(asynchronous=False)
            unflushed = 0


main()
