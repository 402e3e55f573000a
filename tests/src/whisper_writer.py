"""Writes to one node's Whisper files as a carbon-cache there does, and keeps a ledger of what it has written.

The one argument is a JSON file that says which metrics the node has by the old ring and by the new one. The control
file says by which of them the relay sends now: old, new, both (several relays, of which some have switched), or stop.

Like carbon, it looks whether there is a file, makes folder and file where there is none, and then opens the file to
write. What it has written goes to the ledger, an operation a line, only when whisper.py has come back without an error:
the time, u (update), m (update_many) or c (create and update), the number of the metric, the timestamps. A write that
failed because the file or folder came or went in between is counted and not in the ledger; the last line has the counts.
"""

import json
import os
import random
import sys
import time

import whisper

# How often the control file is looked at, in seconds, and the ledger is flushed.
LOOK_EVERY = 0.01
# The most points of one update_many.
MOST_POINTS = 30


class Writer:
    def __init__(self, config):
        self.config = config
        self.step, self.slots = config["archives"][0]
        self.dropped = {"update": 0, "create": 0, "folder": 0}
        self.ledger = open(config["ledger"], "w")

    def write_once(self, metric):
        number, path, seed = metric["number"], metric["path"], metric["seed"]
        how = "u" if random.random() < 0.2 else "m"
        points = self.points(seed, 1 if how == "u" else random.randint(1, MOST_POINTS))
        if not os.path.exists(path):
            how = "c"
            if not self.create(path):
                return
        try:
            if how == "u":
                whisper.update(path, points[0][1], points[0][0])
            else:
                whisper.update_many(path, points)
        except FileNotFoundError:
            self.dropped["update"] += 1
            return
        times = " ".join(str(timestamp) for timestamp, _ in points)
        self.ledger.write("%.6f %s %d %s\n" % (time.time(), how, number, times))

    def create(self, path):
        folder = os.path.dirname(path)
        try:
            if not os.path.exists(folder):
                os.makedirs(folder)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self.dropped["folder"] += 1
            return False
        try:
            config = self.config
            whisper.create(path, config["archives"], config["x_files_factor"], config["aggregation"])
        except FileNotFoundError:
            self.dropped["folder"] += 1
            return False
        except whisper.InvalidConfiguration:
            self.dropped["create"] += 1
            return False
        return True

    def points(self, seed, count):
        now = int(time.time())
        newest = now - now % self.step
        # The oldest quarter is about to leave the file's window.
        first = random.randrange(self.slots * 3 // 4 - count)
        times = [newest - (first + number) * self.step for number in range(count)]
        return [(timestamp, float((seed + timestamp * 7919) % 1000003)) for timestamp in times]

    def run(self):
        metrics = self.config["metrics"]
        by_route = {
            "old": [metric for metric in metrics if metric["old"]],
            "new": [metric for metric in metrics if metric["new"]],
            "both": [metric for metric in metrics if metric["old"] or metric["new"]],
        }
        looked_at = 0.0
        route = "old"
        while True:
            if time.time() - looked_at > LOOK_EVERY:
                looked_at = time.time()
                self.ledger.flush()
                with open(self.config["control"]) as control:
                    route = control.read().strip() or route
                if route == "stop":
                    break
            if by_route[route]:
                self.write_once(random.choice(by_route[route]))
            time.sleep(self.config["pause"])
        self.ledger.write("dropped %s\n" % json.dumps(self.dropped))
        self.ledger.close()


def main():
    with open(sys.argv[1]) as file:
        config = json.load(file)
    random.seed(config["seed"])
    whisper.LOCK = config["locks"]
    if whisper.LOCK and not whisper.CAN_LOCK:
        sys.exit("this Python's whisper.py cannot lock")
    Writer(config).run()


main()
