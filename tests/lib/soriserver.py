"""A sori-server with ports, certificate and secret of its own, for tests over real sockets.

    with Server(CONFIG, most=5) as s:      # CONFIG names {tls}, {clear}, {admin} and what else is given
        Client(s.wss, "alice")

SPDX-License-Identifier: BSD-3-Clause
"""
from soriclient import SECRET
from soridaemon import Daemon, free_port, make_cert


class Server:
    def __init__(self, config, prefix=(), env=None, pass_fds=(), **values):
        self.tls, self.clear, self.admin = free_port(), free_port(), free_port()
        text = config.format(tls=self.tls, clear=self.clear, admin=self.admin, **values)
        self.d = Daemon("sori-server", text, files={"secret": SECRET + "\n"}, prefix=prefix, env=env,
                        pass_fds=pass_fds)
        make_cert(self.d.folder)
        self.wss, self.ws = f"wss://127.0.0.1:{self.tls}/ws", f"ws://127.0.0.1:{self.clear}/ws"

    def __enter__(self):
        self.d.__enter__()
        return self

    def __exit__(self, *a):
        self.d.__exit__(*a)
