"""Writes to one node's Whisper files as a carbon-cache there does, and keeps a ledger of what it has written.

The one argument is a JSON file that says which metrics the node has by the old ring and by the new one. The control
file says by which of them the relay sends now: old, new, both (several relays, of which some have switched), or stop.

Like carbon, it looks whether there is a file, makes folder and file where there is none, and then opens the file to
write. What it has written goes to the ledger, an operation a line, only when whisper.py has come back without an error:
the time, u (update), m (update_many) or c (create and update), the number of the metric, the timestamps with the seconds per
point of the archive that each went to. Points that no archive of the file reaches back to are not written, nor are those that
would soon leave theirs. A write that failed because the file or folder came or went in between is counted and not in the
ledger; the last line has the counts.
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


READ_HEADER = getattr(whisper, "__readHeader")


def value(seed, timestamp):
    """As LiveMetric::value."""
    return float((seed + timestamp // 600 * 7919) % 1000003 * 600 + timestamp % 600)


def slot(archives, timestamp, now):
    """Where whisper.py puts a point: the slot's time, and the archive's seconds per point. None where none is written."""
    age = now - timestamp
    for archive in archives:
        if age <= archive["retention"]:
            step = archive["secondsPerPoint"]
            # The oldest quarter is about to leave the archive.
            return (timestamp - timestamp % step, step) if age <= archive["retention"] * 3 // 4 else None
    return None


class Writer:
    def __init__(self, config):
        self.config = config
        self.dropped = {"update": 0, "create": 0, "folder": 0}
        self.ledger = open(config["ledger"], "w")

    def write_once(self, metric):
        path = metric["path"]
        how = "u" if random.random() < 0.2 else "m"
        points = self.points(metric, 1 if how == "u" else random.randint(1, MOST_POINTS))
        if not os.path.exists(path):
            how = "c"
            if not self.create(path, metric):
                return
        try:
            slots = self.write(path, points, how)
        except FileNotFoundError:
            self.dropped["update"] += 1
            return
        if slots:
            slots = " ".join("%d:%d" % slot for slot in slots)
            self.ledger.write("%.6f %s %d %s\n" % (time.time(), how, metric["number"], slots))

    def write(self, path, points, how):
        """As whisper.update and whisper.update_many: opens the file by its path, and writes into that, whatever it is by then."""
        with open(path, "r+b", whisper.BUFFERING) as file:
            now = int(time.time())
            archives = READ_HEADER(file)["archives"]
            placed = [(point, slot(archives, point[0], now)) for point in points]
            placed = [(point, where) for point, where in placed if where]
            points = [point for point, _ in placed]
            if how == "u" and points:
                whisper.file_update(file, points[0][1], points[0][0], now)
            elif points:
                whisper.file_update_many(file, points, now)
            return [where for _, where in placed]

    def create(self, path, metric):
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
            whisper.create(path, metric["archives"], metric["x_files_factor"], metric["aggregation"])
        except FileNotFoundError:
            self.dropped["folder"] += 1
            return False
        except whisper.InvalidConfiguration:
            self.dropped["create"] += 1
            return False
        return True

    def points(self, metric, count):
        """Points of one metric, one after the other, the newest first."""
        seed, step = metric["seed"], metric["step"]
        now = int(time.time())
        newest = now - now % step
        # The oldest quarter is about to leave the file's window.
        first = random.randrange(metric["reach"] // step * 3 // 4 - count)
        times = [newest - (first + number) * step for number in range(count)]
        return [(timestamp, value(seed, timestamp)) for timestamp in times]

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
