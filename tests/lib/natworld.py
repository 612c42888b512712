"""Hosts behind NATs of several kinds, in network namespaces of their own: host - NAT - impaired link - servers.

    with Net() as net:
        home = Home(net, "symmetric", "both delay 25ms")
        home.command(argv)          # argv as it runs on the host behind the NAT

The kinds are those of RFC 3489 §5, made with nftables; what they do is proven in nat_matrix_test.py by asking them,
not believed. SPDX-License-Identifier: BSD-3-Clause
"""
import subprocess

from impairnet import new_namespace, stop

HOST, INSIDE = "192.168.7.2", "192.168.7.1"
OUT, IN = "wlan0", "lan0"
# One port outside for each inside, kept for everybody: what arrives at the outside goes to the host.
ONE_HOST = f"""
    chain out {{ type nat hook postrouting priority 100
        oifname "{OUT}" snat to @OUTSIDE@
    }}
    chain arriving {{ type nat hook prerouting priority -100
        iifname "{OUT}" meta l4proto udp dnat to {HOST}
    }}"""
KINDS = {
    "full cone": ONE_HOST,
    "restricted": ONE_HOST,
    "port-restricted": f"""
    chain out {{ type nat hook postrouting priority 100
        oifname "{OUT}" masquerade
    }}""",
    "symmetric": f"""
    chain out {{ type nat hook postrouting priority 100
        oifname "{OUT}" meta l4proto udp masquerade to :40000-40999 random
        oifname "{OUT}" masquerade
    }}""",
    "symmetric, random ports": f"""
    chain out {{ type nat hook postrouting priority 100
        oifname "{OUT}" masquerade fully-random
    }}""",
}
FILTER = {
    "restricted": f"""
    set spoken {{ type ipv4_addr; flags dynamic,timeout; timeout 120s; }}
    chain through {{ type filter hook forward priority 0
        iifname "{IN}" meta l4proto udp update @spoken {{ ip daddr }}
        iifname "{OUT}" meta l4proto udp ip saddr != @spoken drop
    }}""",
}
# What nobody asked for ends here: an entry for it would take the outside port of a mapping away.
GUARD = f"""
table ip guard {{
    chain arriving {{ type filter hook input priority 0
        iifname "{OUT}" meta l4proto udp drop
    }}
}}
"""
NO_UDP = f"""
table ip blocked {{
    chain through {{ type filter hook forward priority 10
        iifname "{IN}" meta l4proto udp drop
    }}
}}"""


class Home:
    """One host behind a NAT of this kind, or of `kind` with no UDP let out."""

    def __init__(self, net, kind, script="", seed=1, udp=True):
        self.kind = kind
        self.router = net.client(script, seed)
        self.host = new_namespace()
        router = self.router.pid
        self.inside(router, f"""ip link add {IN} type veth peer name eth0 netns {self.host.pid}
            ip addr add {INSIDE}/24 dev {IN}
            ip link set {IN} up
            echo 1 > /proc/sys/net/ipv4/ip_forward""")
        self.inside(self.host.pid, f"""ip addr add {HOST}/24 dev eth0
            ip link set eth0 up
            ip route add default via {INSIDE}""")
        text = KINDS[kind]
        text = text.replace("@OUTSIDE@", self.router.path.address)
        rules = f"table ip nat {{{text}\n}}\n{GUARD}"
        if kind in FILTER:
            rules += f"table ip admit {{{FILTER[kind]}\n}}\n"
        if not udp:
            rules += NO_UDP
        self.inside(router, f"nft -f - <<'END'\n{rules}\nEND")

    @staticmethod
    def inside(pid, script):
        """Runs shell commands in a namespace; one process for all of them."""
        done = subprocess.run(["nsenter", "-n", "-t", str(pid), "sh", "-ec", script], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout.decode()

    def command(self, argv):
        return ["nsenter", "-n", "-t", str(self.host.pid), *map(str, argv)]

    def stop(self):
        stop(self.host)
