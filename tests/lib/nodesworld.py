"""Relays and media servers that register themselves, and the sori-servers that find them, for tests.
SPDX-License-Identifier: BSD-3-Clause"""
import time

from clusterworld import CONFIG, Cluster
from soriclient import SECRET
from soridaemon import Daemon, free_port
from soriserver import Server
from turnclient import TurnClient

LEASE_S = 2
CLUSTER = """
[cluster]
servers = 127.0.0.1:{redis}
timeout = 400
lease = {lease}
"""
RELAY = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = 1
drain_timeout = 20
[auth]
secret_file = @FOLDER@/secret
[peers]
allow_loopback_peers = yes
[limits]
unauthenticated_per_second = 0
[usage]
node = {name}
region = {region}
[admin]
listen = 127.0.0.1:{admin}
""" + CLUSTER
SFU = """
[sfu]
node_id = {name}
region = {region}
listen = 127.0.0.1
port = {port}
threads = 1
[control]
listen = 127.0.0.1:{control}
secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
""" + CLUSTER
SERVER = """
[sfu]
secret_file = @FOLDER@/secret
region = {region}
"""


class Nodes(Cluster):
    """with Nodes("a") as c: c.relay("r1"), c.sfu("s1"), c["a"]; each server is in the region of its name
    up to the first "-"."""

    def start(self, name):
        region = name.split("-")[0]
        config = CONFIG.replace("urls = turn:127.0.0.1:3478\nsecret_file = @FOLDER@/secret",
                                f"region = {region}\nsecret_file = @FOLDER@/turn")
        s = Server(config, node=name, redis=self.redis.port,
                   redis_at=self.redis_at(name), lease=self.lease_s,
                   extra=SERVER.format(region=region) + self.extra)
        s.d.add_file("turn", SECRET + "\n")
        self.nodes[name] = self.stack.enter_context(s)
        return s

    def _daemon(self, binary, text, name, region, secret, more):
        port, admin, control = free_port(), free_port(), free_port()
        d = Daemon(binary, text.format(name=name, region=region, port=port, admin=admin, control=control,
                                       redis=self.redis.port, lease=LEASE_S) + more,
                   files={"secret": secret + "\n"})
        d.port, d.admin, d.control, d.node = port, admin, control, name
        d.start()
        self.stack.callback(d.kill)
        return d

    def relay(self, name, region="eu", secret=SECRET, more=""):
        return self._daemon("sori-turn", RELAY, name, region, secret, more)

    def sfu(self, name, region="eu", secret=SECRET, more=""):
        return self._daemon("sori-sfu", SFU, name, region, secret, more)

    def registered(self, kind):
        """Names that stand in Redis now."""
        flat = self.redis.do("HGETALL", f"sori:nodes:{{{kind}}}")
        return {name.decode(): record.decode() for name, record in zip(flat[::2], flat[1::2])}


def ports_of(ice):
    """Ports of the turn: URLs in iceServers, over UDP, and the credential."""
    ports, credential = [], None
    for s in ice:
        for url in s["urls"]:
            if url.startswith("turn:") and url.endswith("transport=udp"):
                ports.append(int(url.split(":")[2].split("?")[0]))
                credential = s["username"], s["credential"]
    return ports, credential


def allocates(port, credential):
    with TurnClient(port, *credential) as c:
        return c.allocate() == 0 and c.refresh(0) == 0


def until(what, timeout_s=10):
    """Waits until what() is true, and gives it and how long that took."""
    began = time.monotonic()
    while not (got := what()):
        assert time.monotonic() < began + timeout_s
        time.sleep(0.01)
    return got, time.monotonic() - began
