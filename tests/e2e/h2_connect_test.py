"""How the HTTP/2 client of sori-server connects: whom it believes, proxies, names, certificates of
its own, nghttpd. SPDX-License-Identifier: BSD-3-Clause
"""
import base64
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

from h2server import RawServer, certificates, push, push_command
from soridaemon import free_port


def refused(srv, words, end="tls", **options):
    out = push(srv, n=3, deadline_ms=500, warm=0, **options)
    assert out["no_connection"] == 3 and out["opened"] == 0, out
    assert out["ended"][end] >= 2, out
    assert any(w in out["trouble"] for w in words), out["trouble"]
    assert srv.requests == 0 if srv else True
    return out


def test_the_wrong_name_is_refused():
    cert = certificates().sign("other", "DNS:api.push.example", 2)
    with RawServer(cert=cert) as srv:
        refused(srv, ["hostname mismatch"])
        out = push(srv, n=3, host="api.push.example")  # the name that it is for
        assert out["answered"] == 3


def test_an_expired_and_a_future_certificate_are_refused():
    cert = certificates().sign("expired", "DNS:localhost", 0, ("20200101000000Z", "20210101000000Z"))
    with RawServer(cert=cert) as srv:
        refused(srv, ["expired"])
    cert = certificates().sign("future", "DNS:localhost", 0, ("20700101000000Z", "20710101000000Z"))
    with RawServer(cert=cert) as srv:
        refused(srv, ["not yet valid"])


def test_an_unknown_authority_is_refused():
    with RawServer() as srv:
        refused(srv, ["unable to get local issuer", "self-signed", "self signed"], ca="/etc/ssl/certs/ca-certificates.crt")


@pytest.mark.parametrize("alpn", [None, ("http/1.1",), ("h2c", "http/1.1")])
def test_no_h2_is_refused(alpn):
    with RawServer(alpn=alpn) as srv:
        refused(srv, ["ALPN", "alert"])


def test_old_tls_is_refused():
    with RawServer() as srv:
        srv.tls.minimum_version = ssl.TLSVersion.TLSv1
        srv.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        srv.tls.set_ciphers("ALL:@SECLEVEL=0")
        refused(srv, ["protocol", "version"])


def test_tls_1_2_is_fine():
    with RawServer() as srv:
        srv.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        assert push(srv, n=100)["answered"] == 100


def test_a_closed_port_and_an_unknown_name_say_so():
    port = free_port()
    out = refused(None, ["Connection refused"], end="connect", port=port, connect=f"127.0.0.1:{port}")
    assert "127.0.0.1" in out["trouble"]
    refused(None, ["no address"], end="resolve", port=port, host="no-such-name.invalid")


def test_a_server_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        out = push(None, n=1, deadline_ms=900, open_ms=200, warm=0, port=port, connect=f"127.0.0.1:{port}")
    assert out["no_connection"] == 1 and out["ended"]["connect"] >= 2
    assert "does not answer" in out["trouble"]


def test_a_certificate_of_ours_is_shown():
    pem, key = certificates().sign("provider", "DNS:provider", 2)
    with RawServer(verify=certificates().ca) as srv:
        assert push(srv, n=10, cert=pem, key=key)["answered"] == 10
        out = push(srv, n=1, deadline_ms=400, warm=0)
        assert out["answered"] == 0 and out["ended"]["tls"] >= 1 and "certificate required" in out["trouble"], out


@pytest.mark.parametrize("options, words", [
    ({"ca": "/nonexistent"}, "/nonexistent"), ({"cert": "/nonexistent"}, "both files"),
    ({"host": ""}, "host"), ({"connect": "127.0.0.1:99999"}, "name:port"), ({"proxy": ":3128"}, "name:port"),
    ({"auth": "u:" + "p" * 600}, "password")])
def test_wrong_options_stop_the_start(options, words):
    p = subprocess.run(push_command(**options), capture_output=True, text=True, timeout=10)
    assert p.returncode == 1 and words in p.stderr, p.stderr
    assert "ppp" not in p.stderr


class Proxy:
    """An HTTP/1.1 proxy: CONNECT with Basic, or something worse."""

    def __init__(self, target, auth=None, says=None):
        self.target, self.auth, self.says = target, auth, says
        self.heads = []

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        head = b""
        while b"\r\n\r\n" not in head and (more := sock.recv(4096)):
            head += more
        self.heads.append(head.decode())
        if self.says is not None:
            sock.sendall(self.says)
            sock.close()
            return
        want = b"Proxy-Authorization: Basic " + base64.b64encode((self.auth or "").encode())
        if self.auth and want not in head:
            sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            sock.close()
            return
        up = socket.create_connection(("127.0.0.1", self.target))
        try:
            for part in (b"HTTP/1.1 200 Conn", b"ection established\r\n\r", b"\n"):  # in pieces
                sock.sendall(part)
                time.sleep(0.02)
        except OSError:
            return
        threading.Thread(target=self.pipe, args=(up, sock), daemon=True).start()
        self.pipe(sock, up)

    @staticmethod
    def pipe(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def through(srv, proxy, **options):
    return push(None, port=srv.port, proxy=f"127.0.0.1:{proxy.port}", **options)


def test_a_proxy_connects_us():
    with RawServer() as srv, Proxy(srv.port) as proxy:
        out = through(srv, proxy, n=500)
        assert out["answered"] == 500 and out["opened"] == 2
        assert proxy.heads[0].startswith(f"CONNECT localhost:{srv.port} HTTP/1.1\r\nHost: localhost:{srv.port}\r\n")
    with RawServer() as srv, Proxy(srv.port, auth="Aladdin:open sesame") as proxy:
        assert through(srv, proxy, n=10, auth="Aladdin:open sesame")["answered"] == 10


def test_a_proxy_that_wants_a_password_says_407():
    with RawServer() as srv, Proxy(srv.port, auth="a:b") as proxy:
        for options in ({}, {"auth": "a:wrong"}):
            out = through(srv, proxy, n=1, deadline_ms=400, warm=0, **options)
            assert out["no_connection"] == 1 and out["ended"]["proxy"] >= 2
            assert "407" in out["trouble"] and "user name and password" in out["trouble"]
            assert "wrong" not in out["trouble"]


@pytest.mark.parametrize("says, words", [
    (b"", "closed"), (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"), (b"SSH-2.0-x\r\n\r\n", "does not answer as"),
    (b"HTTP/1.1 200 OK\r\n\r\nhello", "does not answer as"), (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000, "")])
def test_a_proxy_that_does_not(says, words):
    with RawServer() as srv, Proxy(srv.port, says=says) as proxy:
        out = through(srv, proxy, n=1, deadline_ms=400, warm=0)
        assert out["no_connection"] == 1 and out["ended"]["proxy"] >= 2 and words in out["trouble"], out
        assert srv.accepted == 0


def test_certificates_are_checked_behind_a_proxy_too():
    cert = certificates().sign("behind", "DNS:api.push.example", 2)
    with RawServer(cert=cert) as srv, Proxy(srv.port) as proxy:
        out = through(srv, proxy, n=1, deadline_ms=400, warm=0)
        assert out["ended"]["tls"] >= 2 and "hostname" in out["trouble"]


def nghttpd(folder, port, more=()):
    pem, key = certificates().good
    p = subprocess.Popen(["nghttpd", "-m", "1000", "-d", str(folder), *more, str(port), key, pem],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return p
        except OSError:
            time.sleep(0.02)
    p.kill()
    raise AssertionError("nghttpd did not start")


def test_nghttpd_ten_thousand_on_one_connection(tmp_path):
    port = free_port()
    p = nghttpd(tmp_path, port)
    try:
        out = push(None, port=port, connect=f"127.0.0.1:{port}", n=10000, conns=1, inflight=1000)
    finally:
        p.terminate()
        p.wait(10)
    assert out["answered"] == 10000 and out["status"] == {"404": 10000}
    assert out["opened"] == 1 and out["goaways"] == 0


def test_memory_stays_small():
    with RawServer() as srv:
        out = push(srv, n=3000, inflight=1000)
    if not re.search(r"address|thread", os.environ.get("SORI_BUILD", "")):
        assert out["rss_kb"] < 20000, out["rss_kb"]
