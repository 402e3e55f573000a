"""Fills DESTINATION from SOURCE with carbonate's whisper-fill again and again, and prints the seconds that each took.

Arguments: SOURCE DESTINATION TIMES. The destination is put back before each time. The interpreter's start and the imports
are not counted.
"""

import sys
import time

from carbonate.fill import fill_archives


def main(source, destination, times):
    with open(destination, "rb") as file:
        content = file.read()
    for _ in range(int(times)):
        with open(destination, "r+b") as file:
            file.write(content)
        begun = time.perf_counter()
        fill_archives(source, destination, time.time())
        print(time.perf_counter() - begun)
    with open(destination, "r+b") as file:
        file.write(content)


main(*sys.argv[1:])
