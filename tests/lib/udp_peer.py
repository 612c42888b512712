"""The fixture `peer`: coturn's turnutils_peer, which sends everything back; gives its UDP port.
SPDX-License-Identifier: BSD-3-Clause
"""
import subprocess

import pytest

from soridaemon import free_port, wait_udp


@pytest.fixture(scope="module")
def peer():
    port = free_port()
    p = subprocess.Popen(["turnutils_peer", "-L", "127.0.0.1", "-p", str(port)],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_udp(port)
    yield port
    p.kill()
    p.wait()
