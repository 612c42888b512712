"""Several sori-servers around one Redis, for tests. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import contextlib
import subprocess
import time
import urllib.error
import urllib.request

from soriclient import Client
from soriredis import NODES, Redis
from soriserver import Server

CONFIG = """
[server]
listen_tls =
listen_clear = 127.0.0.1:{clear}
node_id = {node}
[auth]
hs256_secret_file = @FOLDER@/secret
[turn]
urls = turn:127.0.0.1:3478
secret_file = @FOLDER@/secret
[redis]
servers = {redis_at}:{redis}
timeout = 400
lease = {lease}
[session]
presence_linger = 1
[admin]
listen = 127.0.0.1:{admin}
[limits]
handshakes_per_s = 0
invites_per_10s = 1000
invites_per_hour = 10000
invites_per_pair_per_min = 1000
{extra}
"""


class Cluster:
    """with Cluster("a", "b") as c: c.redis, c["a"]"""

    def __init__(self, *names, extra="", lease_s=2):
        self.names, self.extra, self.lease_s, self.redis, self.nodes = names, extra, lease_s, Redis(), {}

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        try:
            self.stack.enter_context(self.redis)
            for name in self.names:
                self.start(name)
            for name in self.names:
                self.wait_ready(name, "ready\n")
        except BaseException as e:
            self.stack.__exit__(type(e), e, None)
            raise
        return self

    def __exit__(self, *a):
        return self.stack.__exit__(*a)

    def start(self, name):
        s = Server(CONFIG, node=name, redis=self.redis.port, redis_at=self.redis_at(name), lease=self.lease_s, extra=self.extra)
        self.nodes[name] = self.stack.enter_context(s)
        return s

    def redis_at(self, name):
        return NODES[self.names.index(name)] if name in self.names else "127.0.0.1"

    @contextlib.contextmanager
    def cut_off(self, name):
        """The node does not reach Redis: packets are dropped, nobody is told."""
        at, port = self.redis_at(name), self.redis.port
        rules = f"""table inet cut_{name} {{
            chain arriving {{
                type filter hook input priority 0
                ip daddr {at} tcp dport {port} drop
                ip saddr {at} tcp sport {port} drop
            }}
        }}"""
        subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
        try:
            yield
        finally:
            subprocess.run(["nft", "delete", "table", "inet", f"cut_{name}"], check=True)

    def kill(self, name):
        """Ends the node as a power cut would."""
        self.nodes.pop(name).d.kill()

    def leave(self, name):
        """Asks the node to end, and waits for it."""
        self.nodes.pop(name).d.stop()

    def __getitem__(self, name):
        return self.nodes[name]

    def wait_ready(self, name, begin, timeout_s=10):
        """Waits until /readyz begins so, and gives it."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = self.readyz(name)
            if text.startswith(begin):
                return text
            assert time.monotonic() < deadline, text
            time.sleep(0.02)

    def readyz(self, name):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self[name].admin}/readyz", timeout=5) as r:
                return r.read().decode()
        except urllib.error.HTTPError as e:
            return e.read().decode()

    async def join(self, node, user, device="dev-1", **kw):
        """A connected client of that node."""
        c = Client(self[node].ws, user, device)
        await c.connect(close_timeout=0.1, **kw)
        await self.seen(node, user, device)
        return c

    async def seen(self, node, user, device):
        """Waits until other nodes can find the device there."""
        while self.redis.process:
            entry = self.redis.do("HGET", f"sori:pres:{{{user}}}", device) or b""
            if entry.endswith(b" " + node.encode()):
                break
            await asyncio.sleep(0.005)


async def ask_presence(client, kind, **data):
    """Requests of presence have no number."""
    client.ids += 1
    await client.raw({"type": f"presence.{kind}", "id": f"p{client.ids}", "data": data})
    return await client.until(f"p{client.ids}")


async def presence_of(client, user, state, timeout=8):
    """Waits until the client is told that state."""
    while True:
        m = await client.until("presence", timeout)
        if {"user": user, "state": state} in m["data"]["users"]:
            return


def states(message):
    return {u["user"]: u["state"] for u in message["data"]["users"]}
