#!/bin/bash
# Sori as a cluster on this machine: what three machines would run, each on a loopback address of its own.
#
#     127.0.0.1    node-1    relay-1    sfu-1    redis-1 (master)     sentinel-1
#     127.0.0.2    node-2    relay-2    sfu-2    redis-2 (replica)    sentinel-2
#     127.0.0.3    postgres                                           sentinel-3
#
# Files, logs and process ids are under run/cluster. What dies is told, and the rest goes on; SIGUSR1 starts
# again what is down; Ctrl-C stops everything. Other ports: make cluster HTTP_PORT=9080 …, see below.
# SPDX-License-Identifier: BSD-3-Clause
set -euo pipefail
build=${BUILD:-build/gcc}
http_port=${HTTP_PORT:-8080} https_port=${HTTPS_PORT:-8443} turn_port=${TURN_PORT:-3478} sfu_port=${SFU_PORT:-7882}
control_port=${CONTROL_PORT:-7000} redis_port=${REDIS_PORT:-6390} sentinel_port=${SENTINEL_PORT:-26390}
dir=${RUN_DIR:-run/cluster}
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
here=${0%/*}
# shellcheck source=deploy/dev/lib.sh
. "$here/lib.sh"
logs=yes
one=127.0.0.1 two=127.0.0.2 three=127.0.0.3
sori=() engines=()  # names of what runs

fail() {
    echo "make cluster: $*" >&2
    exit 1
}

# listens tcp|udp ADDRESS PORT: whether somebody does, on that address or on all.
listens() {
    local a b c d local_address
    IFS=. read -r a b c d <<<"$2"
    printf -v local_address '(%02X%02X%02X%02X|0+):%04X' "$d" "$c" "$b" "$a" "$3"
    cat "/proc/net/$1" "/proc/net/${1}6" 2>/dev/null | awk -v kind="$1" -v at="^$local_address\$" \
        '$2 ~ at && (kind == "udp" || $4 == "0A") { found = 1 } END { exit !found }'
}

check_ports() {
    local host port taken=""
    for host in $one $two; do
        for port in "$http_port" "$https_port" $((http_port + 1)) $((http_port + 2)) $((http_port + 3)) \
            "$turn_port" "$sfu_port" "$control_port" "$redis_port" "$sentinel_port"; do
            ! listens tcp "$host" "$port" || taken+=" $host:$port/tcp"
        done
        for port in "$turn_port" "$sfu_port"; do
            ! listens udp "$host" "$port" || taken+=" $host:$port/udp"
        done
    done
    ! listens tcp $three "$sentinel_port" || taken+=" $three:$sentinel_port/tcp"
    [ -z "$taken" ] || fail "taken by another program (make run? \`ss -ltunp\` shows which):$taken
Stop it, or choose others: make cluster HTTP_PORT=$http_port HTTPS_PORT=$https_port TURN_PORT=$turn_port" \
        "SFU_PORT=$sfu_port CONTROL_PORT=$control_port REDIS_PORT=$redis_port SENTINEL_PORT=$sentinel_port" \
        "(these; HTTP_PORT takes three more behind it)"
}

# redis_ini N HOST: the first is the master, until a Sentinel says something else.
redis_ini() {
    mkdir -p "$dir/redis-$1"
    cat <<CONF
bind $2
port $redis_port
dir "$dir/redis-$1"
save ""
appendonly no
requirepass $(cat "$dir/redis.secret")
masterauth $(cat "$dir/redis.secret")
replica-announce-ip $2
repl-diskless-sync-delay 0
CONF
    [ "$1" = 1 ] || echo "replicaof $one $redis_port"
}

sentinel_ini() {
    mkdir -p "$dir/sentinel-$1"
    cat <<CONF
bind $2
port $sentinel_port
dir "$dir/sentinel-$1"
requirepass $(cat "$dir/redis.secret")
sentinel announce-ip $2
sentinel monitor mymaster $one $redis_port 2
sentinel auth-pass mymaster $(cat "$dir/redis.secret")
sentinel down-after-milliseconds mymaster 1000
sentinel failover-timeout mymaster 5000
CONF
}

# meet_ini SECTION: where the nodes meet.
meet_ini() {
    cat <<INI
[$1]
sentinels = $one:$sentinel_port, $two:$sentinel_port, $three:$sentinel_port
password_file = $dir/redis.secret
sentinel_password_file = $dir/redis.secret
INI
}

ledger_ini() {
    cat <<INI
[ledger]
postgres = host='$dir/postgres' user=sori dbname=sori
token_key_file = $dir/ledger.secret
erased_file = $dir/$1.erased
[push]
ring_secret_file = $dir/ring.secret
[privacy]
export_dir = $dir/exports
INI
}

write_files() {
    local n host other origins=""
    (umask 022 && mkdir -p "$dir") # PostgreSQL's own user goes through it
    umask 077
    mkdir -p "$dir/postgres" "$dir/exports"
    rm -f "$dir"/*.log "$dir"/*.pid
    make_secrets token.secret turn.secret sfu.secret redis.secret ledger.secret ring.secret
    make_certificate "IP:$one,IP:$two,DNS:localhost"
    for host in $one $two; do
        origins+="${origins:+, }http://$host:$http_port, https://$host:$https_port"
    done
    n=0
    for host in $one $two $three; do
        n=$((n + 1))
        sentinel_ini $n $host >"$dir/sentinel-$n.conf"
        [ $host != $three ] || break
        other=$([ $host = $one ] && echo $two || echo $one)
        redis_ini $n $host >"$dir/redis-$n.conf"
        {
            turn_ini $host $host
            printf '[usage]\nnode = relay-%s\n' $n
            meet_ini cluster
        } >"$dir/relay-$n.ini"
        {
            sfu_ini sfu-$n $host $host $host:"$control_port"
            meet_ini cluster
        } >"$dir/sfu-$n.ini"
        {
            # Relays and media servers register themselves.
            server_ini node-$n $host $host "$origins" "" "" "http://$other:$http_port/"
            meet_ini redis
            ledger_ini node-$n
        } >"$dir/node-$n.ini"
    done
}

engine() {
    engines+=("$1")
    start "$@"
}

daemon() {
    local name=$1 binary=$2
    sori+=("$name")
    start "$name" "$build/$binary" --config "$dir/$name.ini"
}

end() {
    trap - EXIT USR1
    stop "${sori[@]}"
    stop "${engines[@]}"
    rm -f "$dir/cluster.pid"
    echo "stopped"
}

# redis_says PORT HOST TEXT SECTION: whether INFO SECTION has that.
redis_says() {
    REDISCLI_AUTH=$(cat "$dir/redis.secret") redis-cli -h "$2" -p "$1" INFO "$4" 2>/dev/null | grep -q "$3"
}

database() {
    local sql="psql -qAtX -h $dir/postgres -U sori -d postgres"
    [ "$($sql -c "SELECT 1 FROM pg_database WHERE datname = 'sori'")" = 1 ] || $sql -c "CREATE DATABASE sori"
}

start_all() {
    local n kind
    engine postgres "$here/postgres.sh" run "$dir/postgres" -c fsync=on
    engine redis-1 redis-server "$dir/redis-1.conf"
    engine redis-2 redis-server "$dir/redis-2.conf"
    # Sentinels look for replicas when they start, and then each ten seconds.
    wait_until redis-2 redis_says "$redis_port" $two master_link_status:up replication
    for n in 1 2 3; do
        engine sentinel-$n redis-server "$dir/sentinel-$n.conf" --sentinel
    done
    for n in 1 2; do
        daemon relay-$n sori-turn
        daemon sfu-$n sori-sfu
    done
    wait_until postgres [ -S "$dir/postgres/.s.PGSQL.5432" ]
    "$here/postgres.sh" wait "$dir/postgres" || fail "PostgreSQL does not answer: see $dir/postgres/log"
    database
    daemon node-1 sori-server
    daemon node-2 sori-server
    for n in 1 2; do
        wait_until relay-$n says 127.0.0.$n $((http_port + 2)) '200 OK'
        wait_until sfu-$n says 127.0.0.$n $((http_port + 3)) '200 OK'
        wait_until node-$n says 127.0.0.$n $((http_port + 1)) '^ready$'
    done
    for n in 1 2; do
        for kind in relay sfu; do
            wait_until node-$n says 127.0.0.$n $((http_port + 1)) "^sori_registered_usable{kind=\"$kind\"} 2" /metrics
        done
    done
    for n in 1 2 3; do
        wait_until sentinel-$n redis_says "$sentinel_port" 127.0.0.$n slaves=1,sentinels=3 sentinel
    done
}

tell() {
    local run=${dir#"$PWD"/}
    cat <<TEXT

  Sori runs as a cluster of three machines, each an address of this one:

      $one   node-1    relay-1  sfu-1  redis-1 (master)   sentinel-1
      $two   node-2    relay-2  sfu-2  redis-2 (replica)  sentinel-2
      $three   postgres                                     sentinel-3

  Open these in two tabs, pick two names, call from one node to the other:

      http://$one:$http_port/
      http://$two:$http_port/

  What each node sees of calls, relays and media servers (and /metrics):

      http://$one:$((http_port + 1))/
      http://$two:$((http_port + 1))/

  Now take something away, and look at the tabs and the line that says so here:

      kill -9 \$(cat $run/node-2.pid)     a signaling node
      kill -9 \$(cat $run/redis-1.pid)    the master: the Sentinels make redis-2 the new one
      kill -9 \$(cat $run/relay-1.pid)    a relay
      kill -9 \$(cat $run/sfu-1.pid)      a media server: its rooms move
      kill -9 \$(cat $run/postgres.pid)   the database: records wait
      kill -USR1 \$(cat $run/cluster.pid) starts again what is down

  Files and logs: $run    Ctrl-C stops everything.

TEXT
}

# Browsers of a desktop open both pages.
open_pages() {
    [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && [ "$(id -u)" != 0 ] && command -v xdg-open >/dev/null || return 0
    xdg-open "http://$one:$http_port/" >/dev/null 2>&1 || true
    xdg-open "http://$two:$http_port/" >/dev/null 2>&1 || true
}

# tell_end PID STATUS: says what has ended, and forgets it.
tell_end() {
    local name
    for name in "${!pid_of[@]}"; do
        if [ "${pid_of[$name]}" = "$1" ]; then
            unset "pid_of[$name]"
            rm -f "$dir/$name.pid"
            if [ "$2" -gt 128 ]; then
                echo "$name was ended by SIG$(kill -l $(($2 - 128))); the others go on"
            else
                echo "$name ended with status $2: see $dir/$name.log; the others go on"
            fi
        fi
    done
}

start_again() {
    local name
    for name in "${engines[@]}" "${sori[@]}"; do
        if [ -z "${pid_of[$name]:-}" ]; then
            eval "start $name ${command_of[$name]}"
            echo "$name runs again"
        fi
    done
}

check_ports
[ ${#dir} -le 85 ] || fail "$dir is too long for a socket in it: give another one, make cluster RUN_DIR=/tmp/sori"
write_files
echo $$ >"$dir/cluster.pid"
trap 'end; exit 0' INT TERM
trap end EXIT
again=
trap 'again=yes' USR1
start_all
tell
open_pages
while [ ${#pid_of[@]} -gt 0 ]; do
    if wait -n -p gone "${pid_of[@]}" 2>/dev/null; then status=0; else status=$?; fi
    [ -z "${gone:-}" ] || tell_end "$gone" "$status"
    if [ -n "$again" ]; then
        again=
        start_again
    fi
done
echo "nothing is left" >&2
exit 1
