#!/usr/bin/python3
"""Writes tests/vectors/writers: records as producers with other schemas than ours write them, encoded by Apache Avro's Python
library, and what they must become in our schema. Needs Debian's python3-avro; the result is checked in.

TYPE.CASE.avsc   the producer's schema    TYPE.CASE.bin   its record    TYPE.CASE.json   the same record in ours
Where Avro's own rules say what it becomes, the JSON is also compared with what the library resolves.
"""
import copy
import io
import json
import struct

import avro.io
import avro.schema
import make_vectors as ours

HERE = ours.HERE / "writers"
SKIPPED = [
    ("x_null", "null", None),
    ("x_fixed", {"type": "fixed", "name": "Five", "size": 5}, b"12345"),
    ("x_fixed2", {"type": "array", "items": "Five"}, [b"12345", b"abcde", b"vwxyz"]),
    ("x_enum", {"type": "enum", "name": "Suit", "symbols": ["A", "B"]}, "B"),
    ("x_map", {"type": "map", "values": {"type": "array", "items": "double"}}, {"a": [1.5, 2.5], "b": []}),
    ("x_union", ["null", "string", {"type": "array", "items": ["int", "string"]}], [7, "x", -9]),
    ("x_record", {"type": "record", "name": "Inner", "fields": [
        {"name": "a", "type": "boolean"}, {"name": "b", "type": ["null", "Suit"]}, {"name": "c", "type": "bytes"},
        {"name": "d", "type": {"type": "record", "name": "Deep", "fields": [{"name": "e", "type": "long"}]}}]},
     {"a": True, "b": "A", "c": b"\0\1", "d": {"e": -1 << 40}}),
    ("x_records", {"type": "array", "items": "Deep"}, [{"e": n} for n in range(5)]),
    ("x_empty", {"type": "record", "name": "Nothing", "fields": []}, {}),
]


def schema_of(name):
    return json.loads((ours.SCHEMAS / f"{name}.avsc").read_text())


def walk(schema, change):
    """change(schema) on every type, innermost first."""
    if isinstance(schema, list):
        return change([walk(s, change) for s in schema])
    if isinstance(schema, dict):
        schema = dict(schema)
        for key in ("items", "values"):
            if key in schema:
                schema[key] = walk(schema[key], change)
        if schema["type"] == "record":
            schema["fields"] = [{**f, "type": walk(f["type"], change)} for f in schema["fields"]]
    return change(schema)


def bare(schema):
    """No defaults: a producer's are of no use to a reader."""
    def change(s):
        if isinstance(s, dict) and s["type"] == "record":
            s["fields"] = [{k: v for k, v in f.items() if k != "default"} for f in s["fields"]]
        return s
    return walk(schema, change)


def expanded(schema):
    """Every use of a named type is its definition: the order of fields is free then. Names get a number."""
    known, number = {}, [0]

    def expand(s):
        if isinstance(s, str) and s in known:
            s = known[s]
        if isinstance(s, list):
            return [expand(x) for x in s]
        if not isinstance(s, dict):
            return s
        if "name" in s and s["type"] in ("record", "enum"):
            known[s["name"]] = s
        s = dict(s)
        for key in ("items", "values"):
            if key in s:
                s[key] = expand(s[key])
        if s["type"] == "record":
            s["fields"] = [{**f, "type": expand(f["type"])} for f in s["fields"]]
        if "name" in s and s["type"] in ("record", "enum"):
            number[0] += 1
            s["name"] = f"{s['name']}{number[0]}"
        return s
    return expand(schema)


def reverse(s):
    if isinstance(s, dict) and s["type"] == "record":
        s["fields"] = s["fields"][::-1]
    return s[::-1] if isinstance(s, list) else s


def replace(table):
    return lambda s: table.get(s, s) if isinstance(s, str) else s


def nullable(s):
    if isinstance(s, dict) and s["type"] == "record":
        s["fields"] = [{**f, "type": f["type"] if isinstance(f["type"], list) else [f["type"], "null"]} for f in s["fields"]]
    return s


def write(name, case, schema, datum, expected, resolves=True, writer=avro.io.DatumWriter):
    text = json.dumps(schema, indent=1).replace('"logicalType"', '"unit"')
    parsed, out = avro.schema.parse(text), io.BytesIO()
    datum = {f["name"]: datum[f["name"]] for f in schema["fields"]}
    writer(parsed).write(datum, avro.io.BinaryEncoder(out))
    if resolves:
        reader = avro.schema.parse((ours.SCHEMAS / f"{name}.avsc").read_text().replace('"logicalType"', '"unit"'))
        got = avro.io.DatumReader(parsed, reader).read(avro.io.BinaryDecoder(io.BytesIO(out.getvalue())))
        assert json.dumps(ours.plain(got), sort_keys=True) == json.dumps(ours.plain(expected), sort_keys=True), (name, case)
    (HERE / f"{name}.{case}.avsc").write_text(text + "\n")
    (HERE / f"{name}.{case}.bin").write_bytes(out.getvalue())
    (HERE / f"{name}.{case}.json").write_text(json.dumps(ours.plain(expected), ensure_ascii=False, indent=1) + "\n")


def every_type(name):
    full = ours.complete(name, ours.FULL[name])
    schema = schema_of(name)
    flat = bare(expanded(schema))
    write(name, "bare", {**bare(schema), "doc": "defaults change nothing"}, full, full)
    write(name, "reversed", walk(flat, reverse), full, full, resolves=False, writer=ours.Blocks)
    write(name, "elsewhere", {**flat, "namespace": "com.example", "name": "Other"}, full, full, resolves=False)
    write(name, "nullable", walk(copy.deepcopy(flat), nullable), full, full, resolves=False)
    more, datum = bare(schema), dict(full)
    fields = []
    for i, (field, kind, value) in enumerate(SKIPPED):
        fields += [{"name": field, "type": kind}] + more["fields"][i:i + 1]
        datum[field] = value
    more["fields"] = fields + more["fields"][len(SKIPPED):]
    write(name, "more", more, datum, full, writer=ours.Blocks)
    required = ours.complete(name, ours.REQUIRED[name])
    less = bare(schema)
    given = {f["name"] for f in schema["fields"] if "default" not in f} | set(ours.REQUIRED[name])
    less["fields"] = [f for f in less["fields"] if f["name"] in given]
    write(name, "less", less, {k: required[k] for k in given}, required)


def special():
    f4 = lambda *v: list(struct.unpack(f"<{len(v)}f", struct.pack(f"<{len(v)}f", *v)))
    full = ours.complete("InferenceBatch", ours.FULL["InferenceBatch"])
    schema = bare(schema_of("InferenceBatch"))
    # A tensor's data as array<float>; the dtype is left to its default, FP32.
    values = f4(0, 1, -1.5, 3e30, 1e-40, 2)
    floats = {**full, "tensors": [ours.tensor("FP32", [1, 6], struct.pack("<6f", *values))]}
    tensor = {"type": "record", "name": "Tensor", "fields": [
        {"name": "data", "type": {"type": "array", "items": "float"}},
        {"name": "shape", "type": {"type": "array", "items": "int"}}]}
    arrays = copy.deepcopy(schema)
    arrays["fields"][2]["type"]["items"] = tensor
    arrays["fields"] = [f for f in arrays["fields"] if f["name"] != "external"]
    datum = {**floats, "tensors": [{"data": values, "shape": [1, 6]}]}
    write("InferenceBatch", "floats", arrays, datum, floats, resolves=False)
    write("InferenceBatch", "floats_blocks", arrays, datum, floats, resolves=False, writer=ours.Blocks)
    # The producer renamed what we know by another name, and says so.
    alias = copy.deepcopy(schema)
    alias["fields"][0] = {"name": "request", "type": "string", "aliases": ["no", "id"]}
    write("InferenceBatch", "aliases", alias, {**full, "request": full["id"]}, full, resolves=False)
    # bytes for text, text for bytes.
    text = walk(copy.deepcopy(schema), replace({"string": "bytes"}))
    text["fields"] = [f if f["name"] != "parameters" else schema["fields"][-1] for f in text["fields"]]
    datum = {**full, "id": b"req-1", "model": b"m", "row_ids": [b"a", "\u00e9".encode()],
             "tensors": [{**ours.UINT8, "name": b"input"}]}
    write("InferenceBatch", "bytes", text, datum, {**full, "model": "m", "row_ids": ["a", "\u00e9"]}, resolves=False)
    # Symbols of an enum in another order, one that we do not know.
    symbols = copy.deepcopy(schema)
    symbols["fields"][2]["type"]["items"]["fields"][1]["type"]["symbols"] = ["FP8", "UINT8", "FP32"]
    del symbols["fields"][2]["type"]["items"]["fields"][1]["type"]["default"]
    write("InferenceBatch", "symbols", symbols, full, full)
    unknown = {**full, "tensors": [{**ours.UINT8, "dtype": "FP8"}]}
    write("InferenceBatch", "strange_symbol", symbols, unknown, {**full, "tensors": [{**ours.UINT8, "dtype": "UNKNOWN"}]},
          resolves=False)
    # Smaller numbers.
    narrow = walk(copy.deepcopy(schema), replace({"long": "int"}))
    narrow = walk(narrow, lambda s: "int" if isinstance(s, dict) and s.get("type") == "long" else s)
    small = {**full, "created_at": 5, "deadline_at": -7}
    write("InferenceBatch", "ints", narrow, small, small, resolves=False)
    metric = ours.complete("LossMetric", {**ours.FULL["LossMetric"], "loss": 3.0, "accuracy": -0.5, "val_loss": float(1 << 40),
                                          "metrics": {"a": 1.0, "b": 2.0}})
    real = bare(schema_of("LossMetric"))
    kinds = {"loss": "int", "accuracy": "float", "val_loss": "long", "val_accuracy": ["float", "null"]}
    real["fields"] = [{"name": f["name"], "type": kinds.get(f["name"], f["type"])} for f in real["fields"]]
    real["fields"][13]["type"] = {"type": "map", "values": "int"}
    assert real["fields"][13]["name"] == "metrics"
    metric["val_accuracy"] = 0.25
    write("LossMetric", "numbers", real, {**metric, "loss": 3, "val_loss": 1 << 40, "metrics": {"a": 1, "b": 2}}, metric,
          resolves=False)
    prediction = ours.complete("Prediction", ours.REQUIRED["Prediction"])
    prediction["rows"] = [{"id": None, "status": "OK", "label": 3, "score": 1.0, "top_k": [{"label": 3, "score": 5.0}],
                           "error": None}]
    rows = {"type": "array", "items": {"type": "record", "name": "Row", "fields": [
        {"name": "score", "type": "int"}, {"name": "label", "type": "int"},
        {"name": "top_k", "type": {"type": "array", "items": {"type": "record", "name": "ClassScore", "fields": [
            {"name": "score", "type": "long"}, {"name": "label", "type": "int"}]}}}]}}
    slim = {"type": "record", "name": "Prediction", "namespace": "millrace.v1", "fields": [
        {"name": "rows", "type": rows}, {"name": "version", "type": "int"}, {"name": "model", "type": "string"},
        {"name": "id", "type": "string"}]}
    write("Prediction", "slim", slim, {**prediction, "rows": [{"score": 1, "label": 3, "top_k": [{"score": 5, "label": 3}]}]},
          prediction, resolves=False)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for each in ours.FULL:
        every_type(each)
    special()
