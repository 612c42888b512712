# What run.sh and cluster.sh share: keys, certificate, configurations, starting, waiting and stopping.
#
# Sourced by them; they set build, dir (absolute), http_port, https_port, turn_port, sfu_port.
# Admin listeners are on http_port + 1 (sori-server), + 2 (sori-turn) and + 3 (sori-sfu).
# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause

declare -A pid_of=() command_of=()
logs= # not empty: what a program says goes to $dir/NAME.log

# make_secrets FILE...: under $dir, made once.
make_secrets() {
    local file
    for file in "$@"; do
        [ -s "$dir/$file" ] || openssl rand -hex 32 >"$dir/$file"
    done
}

# make_certificate NAMES: for the addresses of today; browsers ask once whether to trust it.
make_certificate() {
    if [ ! -s "$dir/cert.pem" ] || [ "$(cat "$dir/cert.names" 2>/dev/null)" != "$1" ] ||
        ! openssl x509 -in "$dir/cert.pem" -noout -checkend 86400 >/dev/null; then
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \
            -subj "/CN=Sori development" -addext "subjectAltName=$1" \
            -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
        echo "$1" >"$dir/cert.names"
    fi
}

# turn_urls HOST: what clients are given of one relay.
turn_urls() {
    echo "stun:$1:$turn_port, turn:$1:$turn_port?transport=udp, turn:$1:$turn_port?transport=tcp"
}

# server_ini NODE HOST TLS_HOST ORIGINS TURN_URLS SFU_NODES [OTHER_PAGES]
server_ini() {
    cat <<INI
; Written by ${0##*/}: development only. config/server.ini explains every option.
[server]
listen_clear = $2:$http_port
listen_tls = $3:$https_port
origins = $4
page = yes
node_id = $1
[tls]
cert_file = $dir/cert.pem
key_file = $dir/key.pem
[auth]
hs256_secret_file = $dir/token.secret
[call]
busy_policy = reject
[turn]
urls = $5
secret_file = $dir/turn.secret
[sfu]
nodes = $6
secret_file = $dir/sfu.secret
[limits]
handshakes_per_s = 50
handshakes_burst = 200
[admin]
listen = $2:$((http_port + 1))
control = $dir/$1.ctl
[dev]
enabled = yes
other_pages = ${7:-}
INI
}

# turn_ini HOST ADMIN_HOST
turn_ini() {
    cat <<INI
; Written by ${0##*/}: development only. config/turn.ini explains every option.
[turn]
realm = sori
listen_udp = $1:$turn_port
listen_tcp = $1:$turn_port
relay_addresses = $1
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
listen = $2:$((http_port + 2))
INI
}

# sfu_ini NODE HOST ADMIN_HOST CONTROL
sfu_ini() {
    cat <<INI
; Written by ${0##*/}: development only. config/sfu.ini explains every option.
[sfu]
node_id = $1
listen = $2
port = $sfu_port
threads = 1
drain_timeout = 0
[control]
listen = $4
secret_file = $dir/sfu.secret
socket = $dir/$1.ctl
[admin]
listen = $3:$((http_port + 3))
INI
}

# start NAME COMMAND...: in the background, until it ends or we do, however that comes.
start() {
    local name=$1
    shift
    if [ -n "$logs" ]; then
        setsid setpriv --pdeathsig TERM "$@" </dev/null >>"$dir/$name.log" 2>&1 &
    else
        setpriv --pdeathsig TERM "$@" &
    fi
    pid_of[$name]=$!
    command_of[$name]=$(printf '%q ' "$@")
    echo $! >"$dir/$name.pid"
}

# stop NAME...: ends those of them that run. While it waits, another Ctrl-C kills them.
stop() {
    local name pids=()
    for name in "$@"; do
        [ -z "${pid_of[$name]:-}" ] || pids+=("${pid_of[$name]}")
        rm -f "$dir/$name.pid"
    done
    [ ${#pids[@]} -gt 0 ] || return 0
    # shellcheck disable=SC2064  # these pids
    trap "kill -KILL ${pids[*]} 2>/dev/null" INT TERM
    kill -TERM "${pids[@]}" 2>/dev/null || true
    for name in "$@"; do
        while [ -n "${pid_of[$name]:-}" ] && kill -0 "${pid_of[$name]}" 2>/dev/null; do
            wait "${pid_of[$name]}" || true
        done
        unset "pid_of[$name]"
    done
}

# says HOST PORT TEXT [PATH]: whether /readyz (or PATH) answers with a line like that.
says() {
    (exec 3<>"/dev/tcp/$1/$2" && printf "GET ${4:-/readyz} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" >&3 &&
        grep -q "$3" <&3) 2>/dev/null
}

# wait_until NAME COMMAND...: until COMMAND succeeds; ends everything when NAME has ended meanwhile, or
# after 30 seconds.
wait_until() {
    local name=$1 n
    shift
    for n in $(seq 600); do
        if "$@"; then return; fi
        kill -0 "${pid_of[$name]}" 2>/dev/null || break
        sleep 0.05
    done
    [ -z "$logs" ] || tail -n 20 "$dir/$name.log" >&2
    echo "$name $([ "$n" = 600 ] && echo "is not ready after 30 s" || echo "did not start"): see above" >&2
    exit 1
}
