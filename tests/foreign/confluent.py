#!/usr/bin/python3
"""A producer and a reader with python3-kafka and python3-avro. usage: README.md"""
import io
import json
import os
import struct
import sys
import urllib.request

import avro.io
import avro.schema
import kafka

SYMBOLS = ["FP64", "FP32", "UINT8", "UNKNOWN"]
SCHEMA = {"type": "record", "name": "Request", "namespace": "org.py", "fields": [
    {"name": "parameters", "type": ["null", {"type": "map", "values": "string"}]},
    {"name": "id", "type": ["null", "string"]},
    {"name": "model", "type": ["string", "null"]},
    {"name": "created_at", "type": ["null", "int", "long"]},
    {"name": "tensors", "type": ["null", {"type": "array", "items": {"type": "record", "name": "Tensor", "fields": [
        {"name": "dtype", "type": {"type": "enum", "name": "DType", "symbols": SYMBOLS}},
        {"name": "shape", "type": {"type": "array", "items": ["int", "long"]}},
        {"name": "data", "type": ["null", "bytes"]}]}}]}]}


def ask(url, body=None):
    request = urllib.request.Request(url, data=body and json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def produce(broker, registry, topic, model, count):
    number = ask(f"{registry}/subjects/{topic}-py/versions", {"schema": json.dumps(SCHEMA)})["id"]
    producer = kafka.KafkaProducer(bootstrap_servers=broker, acks="all")
    row = struct.pack("<3072f", 0.5, *[0] * 3071)
    for i in range(int(count)):
        datum = {"parameters": {"a": "b"}, "id": f"py-{i}", "model": model, "created_at": 5,
                 "tensors": [{"dtype": "FP32", "shape": [2, 3, 32, 32], "data": row * 2}]}
        out = io.BytesIO(struct.pack(">bI", 0, number))
        out.seek(5)
        avro.io.DatumWriter(avro.schema.parse(json.dumps(SCHEMA))).write(datum, avro.io.BinaryEncoder(out))
        producer.send(topic, key=f"py-{i}".encode(), value=out.getvalue()).get(30)
    producer.close()


def values(broker, registry, topic, count):
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=broker, auto_offset_reset="earliest", group_id=f"py-{os.getpid()}")
    schemas = {}
    left = int(count)
    for message in consumer:
        if len(message.value) < 7:
            continue  # the marker of a transaction: this client hands it out
        magic, number = struct.unpack(">bI", message.value[:5])
        assert magic == 0
        if number not in schemas:
            schemas[number] = avro.schema.parse(ask(f"{registry}/schemas/ids/{number}")["schema"].replace('"logicalType"', '"unit"'))
        yield avro.io.DatumReader(schemas[number]).read(avro.io.BinaryDecoder(io.BytesIO(message.value[5:])))
        left -= 1
        if left == 0:
            return


def read(*place):
    for value in values(*place):
        tensor = value["tensors"][0]
        print(json.dumps({"id": value["id"], "model": value["model"], "dtype": tensor["dtype"], "shape": tensor["shape"],
                          "bytes": len(tensor["data"])}), flush=True)


def answers(*place):
    for value in values(*place):
        print(json.dumps({"id": value["id"], "version": value["version"], "labels": [row["label"] for row in value["rows"]]}),
              flush=True)


if __name__ == "__main__":
    {"produce": produce, "read": read, "answers": answers}[sys.argv[1]](*sys.argv[2:])
