"""What carbonate makes of configuration files: for each file named on standard input, a line of JSON.

{"owners": {name: [[host, port, instance], ...]}, "nodes": [[...], ...]} of its cluster `main`, or {"error": "..."}.
"""

import json
import sys

from carbonate.cluster import Cluster
from carbonate.config import Config

NAMES = ["app.h%d.cpu.user" % n for n in range(40)]


def read(path):
    cluster = Cluster(Config(path), "main")
    return {
        "nodes": [list(node) for node in cluster.destinations],
        "owners": {name: [list(node) for node in cluster.getDestinations(name)] for name in NAMES},
    }


for line in sys.stdin:
    try:
        answer = read(line.rstrip("\n"))
    except (Exception, SystemExit) as error:
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(answer))
