#!/usr/bin/python3
"""Writes the vectors beside this file: records encoded by Apache Avro's Python library, with the JSON that
millrace must print for them. Run from the repository's root; needs Debian's python3-avro. The result is checked
in, so that tests need no Python.

TYPE.CASE.bin   Avro binary      TYPE.CASE.json   the same record as JSON: unions plain, bytes base64
Case `defaults` has every default of the schema; `blocks` is `full` with its arrays and maps in several blocks,
every other one with a negative count and a byte size.
"""
import base64
import io
import json
import math
import pathlib
import struct

import avro.io
import avro.schema

HERE = pathlib.Path(__file__).resolve().parent
SCHEMAS = HERE.parent.parent / "schemas"


class Blocks(avro.io.DatumWriter):
    """Writes arrays and maps in blocks of 2, 1, 2, 1... items; the second, fourth... with their byte size."""

    def blocks(self, items, write, encoder):
        items, size, sized = list(items), 2, False
        while items:
            head, items = items[:size], items[size:]
            body = io.BytesIO()
            for item in head:
                write(item, avro.io.BinaryEncoder(body))
            encoder.write_long(-len(head) if sized else len(head))
            if sized:
                encoder.write_long(len(body.getvalue()))
            encoder.write(body.getvalue())
            size, sized = 3 - size, not sized
        encoder.write_long(0)

    def write_array(self, writers_schema, datum, encoder):
        self.blocks(datum, lambda item, to: self.write_data(writers_schema.items, item, to), encoder)

    def write_map(self, writers_schema, datum, encoder):
        def entry(item, to):
            to.write_utf8(item[0])
            self.write_data(writers_schema.values, item[1], to)
        self.blocks(datum.items(), entry, encoder)


def encode(schema, datum, writer=avro.io.DatumWriter):
    out = io.BytesIO()
    writer(schema).write(datum, avro.io.BinaryEncoder(out))
    back = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(out.getvalue())))
    assert repr(back) == repr(datum), (back, datum)  # repr: NaN is not equal to itself
    return out.getvalue()


def plain(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def complete(name, given):
    """Fills in the schema's defaults, in the schema's order."""
    fields = json.loads((SCHEMAS / f"{name}.avsc").read_text())["fields"]
    unknown = set(given) - {field["name"] for field in fields}
    assert not unknown, unknown
    return {f["name"]: given[f["name"]] if f["name"] in given else f["default"] for f in fields}


def tensor(dtype, shape, data, name=""):
    return {"name": name, "dtype": dtype, "shape": shape, "data": data}


SHA = "0123456789abcdef" * 4
PIXELS = bytes(range(24))
UINT8 = tensor("UINT8", [3, 2, 2, 2], PIXELS, "input")
RANGES = [{"topic": "millrace.samples", "partition": p, "start_offset": 10 * p, "end_offset": 1 << (33 + p)}
          for p in range(5)]
PAIRS = {"optimizer": "sgd", "learning_rate": "0.02", "empty": "", "größe": "ü\U0001f600"}
NUMBERS = {"precision.0": 0.1, "recall.9": -1.5e-300, "f1.3": 1e300, "health.nan": math.nan, "whole": 3.0}
LABELS = ["zero", "one", "", "drei\n\"3\"", "\u4e94"]

FULL = {
    "InferenceBatch": {
        "id": "req-1", "model": "digits@challenger", "tensors": [UINT8], "row_ids": ["a", "b\u00e9", ""],
        "created_at": 1700000000123, "deadline_at": 1700000001123, "top_k": 3, "return_outputs": True,
        "explain": True, "parameters": PAIRS},
    "Sample": {
        "tensors": [tensor("FP32", [3, 1, 1, 2], struct.pack("<6f", 0, 1, -1, 0.5, math.inf, math.nan))],
        "targets": tensor("FP64", [3, 2], struct.pack("<6d", 0, 1, 2, 3, 4, 5), "y"),
        "row_ids": ["r0", "r1", "r2"]},
    "Prediction": {
        "id": "req-1", "model": "digits", "version": 7, "rows": [
            {"id": "a", "status": "OK", "label": 3, "score": 0.75,
             "top_k": [{"label": 3, "score": 0.75}, {"label": 8, "score": 0.125}, {"label": 0, "score": 0.0625}],
             "error": None},
            {"id": None, "status": "BAD_INPUT", "label": -1, "score": 0.0, "top_k": [], "error": "non-finite"},
            {"id": "", "status": "EXPIRED", "label": -1, "score": 0.0, "top_k": [], "error": "deadline passed"},
            {"id": None, "status": "UNKNOWN", "label": 2147483647, "score": math.nan, "top_k": [], "error": None}],
        "outputs": [tensor("FP32", [4, 2], struct.pack("<8f", *range(8)), "logits")],
        "saliency": tensor("UINT8", [4, 1, 1, 2], bytes(8)), "weights_sha256": SHA, "variant": "shadow",
        "supersedes": 6, "worker": "slot-a", "produced_at": 1700000000456, "queue_us": 120, "compute_us": 987},
    "TrainingJob": {
        "job_id": "job-1", "action": "IMPORT", "model": "digits", "base_version": 4, "network": "lenet",
        "dataset": RANGES, "validation_rate": 0.2, "test_rate": 0.05, "artifact_uri": "file:///store/x.onnx",
        "sha256": SHA, "labels": LABELS, "loss": "LOG_LOSS", "hyperparameters": PAIRS,
        "stopping": {"max_runtime_s": 3600, "patience": 5, "min_delta": 0.001}, "checkpoint_every": 100,
        "promote": {"metric": "val_loss", "minimize": True, "min_improvement": 0.01, "automatic": True},
        "requested_by": "ci", "created_at": 1700000000000},
    "LossMetric": {
        "job_id": "job-1", "model": "digits", "sequence": 42, "state": "TRAINING", "epoch": 3, "step": 900,
        "total_steps": 3000, "loss": 0.125, "accuracy": 0.9, "val_loss": 0.25, "val_accuracy": 0.8,
        "learning_rate": 0.02, "samples_per_second": 51234.5, "metrics": NUMBERS, "failure_reason": "why",
        "worker": "slot-a", "at": 1700000000001},
    "ModelVersionEvent": {
        "event_id": "e-1", "event": "ROLLED_BACK", "model": "digits", "version": 9, "alias": "champion",
        "traffic": 0.5, "previous_version": 8, "artifact_uri": "file:///store/x.onnx", "format": "onnx",
        "sha256": SHA, "size_bytes": 250000,
        "input": {"shape": [3, 32, 32], "mean": [0.5, 0.25, 0.125], "std": [0.5, 1.0, 2.0]}, "labels": LABELS,
        "job_id": "job-1", "base_version": 3, "dataset": RANGES, "dataset_sha256": SHA[::-1],
        "hyperparameters": PAIRS, "metrics": NUMBERS, "reason": "better", "created_by": "ops",
        "tags": {"stage": "prod", "a": "b", "c": "d"}, "at": 1700000000002},
    "JobCheckpoint": {
        "job_id": "job-1", "model": "digits", "state": "STOPPED", "epoch": 3, "step": 900, "total_steps": 3000,
        "sequence": 42, "artifact_uri": "file:///ckpt", "sha256": SHA, "version": 9, "failure_reason": "why",
        "worker": "slot-a", "at": 1700000000003},
}

REQUIRED = {
    "InferenceBatch": {"id": "r", "model": "m", "tensors": [tensor("FP32", [1], b"\0\0\0\0")]},
    "Sample": {"tensors": [tensor("FP32", [0, 5], b"")]},
    "Prediction": {"id": "r", "model": "m", "version": 1, "rows": []},
    "TrainingJob": {"job_id": "j", "model": "m"},
    "LossMetric": {"job_id": "j", "model": "m", "sequence": 0, "state": "UNKNOWN"},
    "ModelVersionEvent": {"event_id": "e", "event": "CREATED", "model": "m", "version": 1},
    "JobCheckpoint": {"job_id": "j", "model": "m", "state": "STARTING", "step": 0, "sequence": 0},
}

JPEGS = {"images": [b"\xff\xd8\xff", b"", b"\x89PNG"]}
OTHER = [
    ("InferenceBatch", "plain", {**FULL["InferenceBatch"], "parameters": {}}),  # what our encoder can write
    ("InferenceBatch", "images", {"id": "i", "model": "m", "images": JPEGS, "row_ids": ["a", "b", "c"]}),
    ("InferenceBatch", "external", {"id": "x", "model": "m@2", "external": {
        "uri": "s3://bucket/rows", "sha256": SHA, "tensor": tensor("BF16", [100000, 3, 224, 224], b"")}}),
    ("Sample", "labels", {"tensors": [UINT8], "labels": [7, -1, 2147483647]}),
    ("Sample", "images", {"images": JPEGS, "labels": [0, 1, 2], "row_ids": ["a", "b", "c"]}),
]


def write(name, case, datum, writer=avro.io.DatumWriter):
    datum = complete(name, datum)
    text = (SCHEMAS / f"{name}.avsc").read_text()
    schema = avro.schema.parse(text.replace('"logicalType"', '"unit"'))  # times stay numbers
    (HERE / f"{name}.{case}.bin").write_bytes(encode(schema, datum, writer))
    (HERE / f"{name}.{case}.json").write_text(json.dumps(plain(datum), ensure_ascii=False, indent=1) + "\n")


def main():
    for name, datum in FULL.items():
        write(name, "full", datum)
        write(name, "blocks", datum, Blocks)
        write(name, "defaults", REQUIRED[name])
    for name, case, datum in OTHER:
        write(name, case, datum)
    write("InferenceBatch", "images_blocks", OTHER[1][2], Blocks)


if __name__ == "__main__":
    main()
