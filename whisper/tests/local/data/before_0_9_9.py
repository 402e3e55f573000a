"""Makes before_0_9_9.wsp and before_0_9_9.txt with whisper 0.9.8 (Python 2.7): python2.7 before_0_9_9.py

0.9.8 is the last release whose header begins with the time of the last update.
"""

import whisper

NOW = 1284000600
PATH = "before_0_9_9.wsp"


class Clock(object):
    @staticmethod
    def time():
        return NOW


whisper.time = Clock
whisper.create(PATH, [(60, 20), (300, 12)], 0.5)
whisper.update_many(PATH, [(NOW - 60 * age, float(age * age)) for age in range(12) if age != 3])
whisper.update(PATH, 100.5, NOW - 60)

with open("before_0_9_9.txt", "w") as out:
    for span in 1200, 3600:
        (start, end, step), values = whisper.fetch(PATH, NOW - span, NOW)
        for number, value in enumerate(values):
            if value is not None:
                out.write("%d %d %r\n" % (step, start + number * step, value))
