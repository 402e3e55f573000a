# Fills the pairs that standard input names, SOURCE<tab>DESTINATION a line, by carbonate; prints the seconds it took.
import sys
import time

from carbonate.fill import fill_archives

pairs = [line.rstrip("\n").split("\t") for line in sys.stdin]
begun = time.perf_counter()
for source, destination in pairs:
    fill_archives(source, destination, int(time.time()))
print(time.perf_counter() - begun)
