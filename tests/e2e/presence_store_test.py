"""The presence stores, in memory and over Debian's redis-server, keep the same promises; and those
between nodes. SPDX-License-Identifier: BSD-3-Clause
"""
import pytest

from presenceworld import clean, conforms, ini, new_folder  # pylint: disable=unused-import
from soridaemon import free_port, make_signed_cert
from soriredis import Redis


def test_memory():
    conforms("mem")


def test_redis_on_a_unix_socket():
    with Redis() as r:
        conforms("redis", ini(f"servers = unix:{r.path}"))


def test_redis_over_tcp_with_a_user_of_its_own():
    """The ACL of docs/CLUSTER.md is enough."""
    with Redis() as r:
        assert r.do("ACL", "SETUSER", "sori", "on", ">open sesame", "~sori:*", "&sori:*", "-@all", "+ping", "+select",
                    "+role", "+script|load", "+evalsha", "+hget", "+hgetall", "+hset", "+hdel", "+hlen", "+pexpire",
                    "+time", "+spublish", "+ssubscribe") == b"OK"
        assert r.do("ACL", "SETUSER", "default", "off") == b"OK"
        conforms("redis", ini(f"servers = 127.0.0.1:{r.port}", "username = sori\npassword_file = @FOLDER@/password\n"))


def test_redis_over_tls():
    folder, port = new_folder(), free_port()
    ca = make_signed_cert(folder, "redis.test")
    with Redis(None, "--tls-port", port, "--tls-cert-file", f"{folder}/cert.pem", "--tls-key-file", f"{folder}/key.pem",
               "--tls-auth-clients", "no"):
        at = f"servers = 127.0.0.1:{port}\ntls = yes\nca_file = {ca}\n"
        conforms("redis", ini(at, "tls_name = redis.test\n"))
        conforms("refuses", ini(at, "tls_name = somebody.else\n"))


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))
