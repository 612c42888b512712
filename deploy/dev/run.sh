#!/bin/bash
# A development set-up on this machine: keys, certificate and configuration under run/, the three daemons,
# the page's addresses. Ctrl-C stops everything. Nothing listens beyond loopback, unless
#
#     make run LAN=192.168.1.5        that address of this machine as well: to try with a phone
#
# SPDX-License-Identifier: BSD-3-Clause
set -euo pipefail
build=${BUILD:-build/gcc}
lan=${LAN:-}
http_port=${HTTP_PORT:-8080} https_port=${HTTPS_PORT:-8443} turn_port=${TURN_PORT:-3478} sfu_port=${SFU_PORT:-7882}
dir=${RUN_DIR:-run}
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

umask 077
mkdir -p "$dir/usage"
for secret in token.secret turn.secret sfu.secret; do
    [ -s "$dir/$secret" ] || openssl rand -hex 32 >"$dir/$secret"
done

# A certificate for the addresses of today; browsers ask once whether to trust it.
names="IP:127.0.0.1,DNS:localhost${lan:+,IP:$lan}"
if [ ! -s "$dir/cert.pem" ] || [ "$(cat "$dir/cert.names" 2>/dev/null)" != "$names" ] ||
    ! openssl x509 -in "$dir/cert.pem" -noout -checkend 86400 >/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \
        -subj "/CN=Sori development" -addext "subjectAltName=$names" \
        -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
    echo "$names" >"$dir/cert.names"
fi

host=${lan:-127.0.0.1}
origins="http://127.0.0.1:$http_port, http://localhost:$http_port, https://127.0.0.1:$https_port, https://localhost:$https_port${lan:+, https://$lan:$https_port}"
cat >"$dir/server.ini" <<INI
; Written by make run: development only. config/server.ini explains every option.
[server]
listen_clear = 127.0.0.1:$http_port
listen_tls = $host:$https_port
origins = $origins
page = yes
node_id = dev
[tls]
cert_file = $dir/cert.pem
key_file = $dir/key.pem
[auth]
hs256_secret_file = $dir/token.secret
[call]
busy_policy = reject
[turn]
urls = stun:$host:$turn_port, turn:$host:$turn_port?transport=udp, turn:$host:$turn_port?transport=tcp
secret_file = $dir/turn.secret
[sfu]
nodes = dev=unix:$dir/sfu.sock
secret_file = $dir/sfu.secret
[limits]
handshakes_per_s = 50
handshakes_burst = 200
[admin]
listen = 127.0.0.1:$((http_port + 1))
[dev]
enabled = yes
INI
cat >"$dir/turn.ini" <<INI
; Written by make run: development only. config/turn.ini explains every option.
[turn]
realm = sori
listen_udp = $host:$turn_port
listen_tcp = $host:$turn_port
relay_addresses = $host
threads = 1
drain_timeout = 0
[auth]
secret_file = $dir/turn.secret
[peers]
; Browsers on this machine and its network: never in production.
allow_private_peers = yes
allow_own_addresses = yes
allow_loopback_peers = yes
[admin]
listen = 127.0.0.1:$((http_port + 2))
[log]
usage = ended
usage_interval = 60
[usage]
; sori-report --relay $dir/usage --to \$(date -u +%F)
directory = $dir/usage
INI

cat >"$dir/sfu.ini" <<INI
; Written by make run: development only. config/sfu.ini explains every option.
[sfu]
node_id = dev
listen = $host
port = $sfu_port
threads = 1
drain_timeout = 0
[control]
listen = unix:$dir/sfu.sock
secret_file = $dir/sfu.secret
socket = $dir/sfuctl.sock
[admin]
listen = 127.0.0.1:$((http_port + 3))
INI

pids=()
stop() {
    trap - EXIT INT TERM
    [ ${#pids[@]} -eq 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
    wait || true
    echo "stopped"
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

"$build/sori-sfu" --config "$dir/sfu.ini" &
pids+=($!)
"$build/sori-turn" --config "$dir/turn.ini" &
pids+=($!)
for _ in $(seq 100); do # so that sori-server finds it at its first try
    [ -S "$dir/sfu.sock" ] && break
    sleep 0.02
done
"$build/sori-server" --config "$dir/server.ini" &
pids+=($!)

ready() { (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3 && grep -q '200 OK' <&3) 2>/dev/null; }
for port in "$http_port" $((http_port + 2)) $((http_port + 3)); do
    for _ in $(seq 200); do
        ready "$port" && break
        kill -0 "${pids[@]}" 2>/dev/null || { echo "a daemon did not start: see above" >&2; exit 1; }
        sleep 0.05
    done
done
cat <<TEXT

  Sori is running. Open one of these in two tabs, pick two names, call; or in more, and meet in a
  room:

      http://127.0.0.1:$http_port/
      https://$host:$https_port/    (self-signed certificate: accept it once)

  Files: $dir    Metrics: http://127.0.0.1:$((http_port + 1))/metrics, :$((http_port + 2)), :$((http_port + 3))
  Rooms: $build/sori-sfuctl --socket $dir/sfuctl.sock status
  Ctrl-C stops everything.

TEXT
wait -n "${pids[@]}" || true
echo "a daemon ended: see above" >&2
exit 1
