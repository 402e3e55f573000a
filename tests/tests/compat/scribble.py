"""Writes points with whisper.py into files of a folder until a file called "stop" appears.

Arguments: the folder, "locks" or "plain", a seed. Each point that was written is a line on standard output:
the file, the timestamp, the value. Says "ready" before the first.
"""

import os
import random
import sys
import time

import whisper

folder, manner, seed = sys.argv[1:4]
whisper.LOCK = manner == "locks"
chance = random.Random(int(seed))
files = sorted(name for name in os.listdir(folder) if name.endswith(".wsp"))
stop = os.path.join(folder, "stop")
print("ready", flush=True)
while not os.path.exists(stop):
    for _ in range(20):
        name = chance.choice(files)
        now = int(time.time())
        at = now - chance.randrange(60, 80000)
        value = chance.randrange(1, 1 << 40)
        whisper.update(os.path.join(folder, name), value, at, now)
        print(name, at, value)
    sys.stdout.flush()
