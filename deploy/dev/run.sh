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
# shellcheck source=deploy/dev/lib.sh
. "${0%/*}/lib.sh"

umask 077
mkdir -p "$dir/usage"
make_secrets token.secret turn.secret sfu.secret
make_certificate "IP:127.0.0.1,DNS:localhost${lan:+,IP:$lan}"

host=${lan:-127.0.0.1}
origins="http://127.0.0.1:$http_port, http://localhost:$http_port, https://127.0.0.1:$https_port, https://localhost:$https_port${lan:+, https://$lan:$https_port}"
server_ini server 127.0.0.1 "$host" "$origins" "$(turn_urls "$host")" "sfu=unix:$dir/sfu.sock" >"$dir/server.ini"
{
    turn_ini "$host" 127.0.0.1
    cat <<INI
[log]
usage = ended
usage_interval = 60
[usage]
; sori-report --relay $dir/usage --to \$(date -u +%F)
directory = $dir/usage
INI
} >"$dir/turn.ini"
sfu_ini sfu "$host" 127.0.0.1 "unix:$dir/sfu.sock" >"$dir/sfu.ini"

end() {
    trap - EXIT
    stop server turn sfu
    echo "stopped"
}
trap 'end; exit 0' INT TERM
trap end EXIT

start sfu "$build/sori-sfu" --config "$dir/sfu.ini"
start turn "$build/sori-turn" --config "$dir/turn.ini"
wait_until sfu [ -S "$dir/sfu.sock" ] # so that sori-server finds it at its first try
start server "$build/sori-server" --config "$dir/server.ini"
wait_until server says 127.0.0.1 "$http_port" '200 OK'
wait_until turn says 127.0.0.1 $((http_port + 2)) '200 OK'
wait_until sfu says 127.0.0.1 $((http_port + 3)) '200 OK'
cat <<TEXT

  Sori is running. Open one of these in two tabs, pick two names, call; or in more, and meet in a
  room:

      http://127.0.0.1:$http_port/
      https://$host:$https_port/    (self-signed certificate: accept it once)

  Files: $dir    Metrics: http://127.0.0.1:$((http_port + 1))/metrics, :$((http_port + 2)), :$((http_port + 3))
  Rooms: $build/sori-sfuctl --socket $dir/sfu.ctl status
  Ctrl-C stops everything.

TEXT
wait -n "${pid_of[@]}" || true
echo "a daemon ended: see above" >&2
exit 1
