#!/bin/sh
# PostgreSQL of Debian for tests and make cluster: in a directory of its own, on a Unix socket there, as
# a user that is not root, ended with the process that started it.
#
#   postgres.sh run DIR [OPTION...]    makes the database cluster if there is none; stays
#   postgres.sh copy DIR OF            a standby of the one in OF, which runs; then run
#   postgres.sh wait DIR               until it answers (or has ended: status 1)
#
# SPDX-License-Identifier: BSD-3-Clause
set -eu
what=$1
dir=$2
shift 2
bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)

if [ "$what" = wait ]; then
    n=0
    until [ -S "$dir/.s.PGSQL.5432" ] && "$bin/pg_isready" -q -h "$dir" -d postgres; do
        n=$((n + 1))
        if [ $n -gt 600 ]; then
            tail -n 20 "$dir/log" >&2
            exit 1
        fi
        sleep 0.05
    done
    exit 0
fi

# PostgreSQL refuses to run as root. Where its own user cannot come (a user namespace that has no other
# user, a directory in root's home), root is called by another name.
as=""
if [ "$(id -u)" = 0 ]; then
    own="setpriv --reuid=postgres --regid=postgres --clear-groups"
    if [ ! -d "$dir/data" ]; then chown postgres: "$dir" 2>/dev/null || true; fi
    if $own test -w "$dir" 2>/dev/null; then
        as=$own
    else
        as="unshare -U --map-user=1000 --map-group=1000"
        chown "$(id -u):$(id -g)" "$dir"
    fi
fi
cd "$dir"
if [ "$what" = copy ]; then
    exec $as "$bin/pg_basebackup" -h "$1" -U sori -D "$dir/data" -R -X stream -c fast
fi
if [ ! -d data ]; then
    $as "$bin/initdb" -N -A trust -U sori -E UTF8 --locale=C -D "$dir/data" >"$dir/initdb.log" 2>&1 ||
        { cat "$dir/initdb.log" >&2; exit 1; }
fi
exec $as setpriv --pdeathsig INT "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= \
    -c fsync=off -c shared_buffers=16MB -c max_connections=128 -c jit=off "$@" >>"$dir/log" 2>&1
