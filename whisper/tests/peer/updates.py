"""Updates Whisper files with whisper.py, without any lock, as carbon does unless it is told otherwise.

Standard input has an update a line: NOW TIMESTAMP VALUE PATH.
"""

import sys

import whisper


def main():
    whisper.LOCK = False
    for line in sys.stdin:
        now, timestamp, value, path = line.rstrip("\n").split(" ", 3)
        whisper.update(path, float(value), int(timestamp), int(now))


main()
