"""Carries out operations on Whisper files with whisper.py, as the tests in this folder ask for them.

Standard input has one operation a line, a JSON object whose "op" names it; standard output gets one answer a line,
in the same order. Values are sent as the 16 hexadecimal digits of their bits, so that nothing is lost. An operation
that whisper.py refuses is answered with {"error": NAME OF THE EXCEPTION}.
"""

import functools
import json
import struct
import sys

import whisper


def in_given_order(values):
    """Takes the place of set(): which slot of an empty archive becomes its first must not depend on hashing."""
    return dict.fromkeys(values)


def naive_sum(values):
    """Adds up as sum() did before Python 3.12, which compensates for rounding."""
    return functools.reduce(lambda total, value: total + value, values, 0)


def to_bits(value):
    return None if value is None else struct.pack("!d", value).hex()


def from_bits(bits):
    return None if bits is None else struct.unpack("!d", bytes.fromhex(bits))[0]


def content(path):
    with open(path, "rb") as file:
        return {"bytes": file.read().hex()}


def create(path, retentions, x_files_factor, aggregation, layout):
    whisper.create(path, [tuple(retention) for retention in retentions], x_files_factor, aggregation,
                   sparse=layout == "sparse", useFallocate=layout == "fallocate")
    return content(path)


def write(path, digits):
    with open(path, "wb") as file:
        file.write(bytes.fromhex(digits))
    return {}


def update(path, timestamp, value, now):
    whisper.update(path, from_bits(value), timestamp, now)
    return content(path)


def update_many(path, points, now):
    whisper.update_many(path, [(timestamp, from_bits(value)) for timestamp, value in points], now)
    return content(path)


def fetch(path, start, until, now):
    fetched = whisper.fetch(path, start, until, now)
    if fetched is None:
        return {"fetched": None}
    (start, until, step), values = fetched
    return {"fetched": {"from": start, "until": until, "step": step, "values": [to_bits(v) for v in values]}}


def aggregate(method, values):
    values = [from_bits(value) for value in values]
    known = [value for value in values if value is not None]
    return {"value": to_bits(whisper.aggregate(method, known, values))}


def parse_retention(text):
    return {"retention": whisper.parseRetentionDef(text)}


def set_aggregation(path, aggregation, x_files_factor):
    old = whisper.setAggregationMethod(path, aggregation, x_files_factor)
    return dict(content(path), old=old)


def info(path):
    found = whisper.info(path)
    return {
        "aggregation": found["aggregationMethod"],
        "max_retention": found["maxRetention"],
        "x_files_factor": found["xFilesFactor"],
        "archives": [[a["offset"], a["secondsPerPoint"], a["points"]] for a in found["archives"]],
    }


OPERATIONS = {f.__name__: f for f in (create, write, update, update_many, fetch, aggregate, parse_retention,
                                      set_aggregation, info)}


def main():
    whisper.LOCK = True
    if sys.version_info >= (3, 12):
        whisper.sum = naive_sum
    if "--python-set-order" not in sys.argv:
        whisper.set = in_given_order
    for line in sys.stdin:
        operation = json.loads(line)
        name = operation.pop("op")
        try:
            answer = OPERATIONS[name](**operation)
        except (whisper.WhisperException, ValueError, struct.error) as error:
            answer = {"error": type(error).__name__}
        print(json.dumps(answer))


main()
