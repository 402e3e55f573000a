"""What carbon makes of configuration files: for each file named on standard input, a line of JSON.

{"nodes": [[host, port, instance], ...], "hash": ..., "method": ..., "copies": ..., "diverse": ..., "owners": {name: [[...], ...]}}
or {"error": "..."}. As carbon-relay without --instance: [relay], and [relay:a] over it.
"""

import json
import sys

from carbon import util
from carbon.conf import Settings, defaults
from carbon.routers import ConsistentHashingRouter, DatapointRouter, FastHashingRouter

NAMES = ["app.h%d.cpu.user" % n for n in range(40)]
ROUTERS = {"consistent-hashing": ConsistentHashingRouter, "fast-hashing": FastHashingRouter}


def read(path):
    settings = Settings()
    settings.update(defaults)
    settings.readFrom(path, "relay")
    settings.readFrom(path, "relay:a")
    method = settings.RELAY_METHOD
    if method not in DatapointRouter.plugins:
        raise ValueError("unknown method")
    destinations = util.parseDestinations(settings.DESTINATIONS)
    if method not in ROUTERS:
        return {"method": str(method)}
    router = ROUTERS[method](settings)
    known = []
    for destination in destinations:
        # As CarbonClientManager.startClient, which passes over one that it has.
        if destination not in known:
            known.append(destination)
            router.addDestination(destination)
    return {
        "method": method,
        "nodes": [list(node) for node in known],
        "hash": settings.ROUTER_HASH_TYPE,
        "copies": int(settings.REPLICATION_FACTOR),
        "diverse": bool(settings.DIVERSE_REPLICAS),
        "owners": {name: [list(node) for node in router.getDestinations(name)] for name in NAMES},
    }


for line in sys.stdin:
    try:
        answer = read(line.rstrip("\n"))
    except Exception as error:
        answer = {"error": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(answer))
