"""Runs whisper.py a step at a time: it stops where a test wants to do something in between.

Standard input has a JSON object a line: {"do": "create" or "update_many", "path": ..., "stop": "before open", "open" or
null, ...}. Where whisper.py comes to the place to stop at, "stopped" is printed, and the next line of input lets it go
on. At the end of each, "done" is printed, or what went wrong.
"""

import json
import os
import sys

import whisper

stop_at = None


def tell(word):
    print(word, flush=True)


def stop(place):
    if stop_at == place:
        tell("stopped")
        sys.stdin.readline()


def stepped_open(*args, **kwargs):
    stop("before open")
    file = open(*args, **kwargs)
    stop("open")
    return file


def create(order):
    # As carbon does it.
    if os.path.exists(order["path"]):
        raise FileExistsError(order["path"])
    os.makedirs(os.path.dirname(order["path"]), exist_ok=True)
    whisper.create(order["path"], order["archives"])


def update_many(order):
    whisper.update_many(order["path"], order["points"])


def main():
    global stop_at
    whisper.LOCK = sys.argv[1] == "lock"
    whisper.open = stepped_open
    acts = {"create": create, "update_many": update_many}
    for line in sys.stdin:
        order = json.loads(line)
        stop_at = order["stop"]
        try:
            acts[order["do"]](order)
        except Exception as error:
            tell("%s: %s" % (type(error).__name__, error))
        else:
            tell("done")


main()
