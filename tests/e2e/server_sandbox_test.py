"""sori-server works within the system call filter of its systemd unit.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import os
import signal

import sandbox
from soriclient import Client
from soriserver import Server

UNIT = os.path.join(os.environ["SORI_ROOT"], "deploy", "systemd", "sori-server.service")
CONFIG = """
[server]
listen_tls = 127.0.0.1:{tls}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
"""


async def hello(server):
    client = Client(server.wss, "alice")
    await client.connect()
    await client.socket.close()


def test_works_within_the_filter_of_its_unit():
    with Server(CONFIG, prefix=["/usr/bin/python3", sandbox.__file__, UNIT]) as server:
        asyncio.run(hello(server))
        server.d.signal(signal.SIGHUP)
        server.d.wait_log("reloaded|read again")
        asyncio.run(hello(server))
