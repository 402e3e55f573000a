"""Reads Whisper files with whisper.py: all archives, all points.

Standard input has a time and then one path a line. Standard output gets a JSON object a line, in the same order: for
each archive, by its seconds per point, the known points as [timestamp, value's bits as 16 hexadecimal digits].
"""

import json
import struct
import sys

import whisper


def points(path, now):
    archives = {}
    for archive in whisper.info(path)["archives"]:
        step = archive["secondsPerPoint"]
        (start, end, _), values = whisper.fetch(
            path, now - archive["retention"], now, now=now, archiveToSelect=step
        )
        archives[step] = [
            [start + number * step, struct.pack(">d", value).hex()]
            for number, value in enumerate(values)
            if value is not None
        ]
    return archives


def main():
    now = int(sys.stdin.readline())
    for line in sys.stdin:
        print(json.dumps(points(line.rstrip("\n"), now)))


main()
