#!/bin/sh
# Makes the secrets of compose.yaml where there are none yet, readable by the user of the images alone.
# Run it as root, once, in this folder. SPDX-License-Identifier: BSD-3-Clause
set -eu
umask 077
mkdir -p secrets
for name in token turn sfu ledger postgres grafana; do
    [ -s "secrets/$name.secret" ] || openssl rand -hex 32 >"secrets/$name.secret"
done
chown 10001:10001 secrets/token.secret secrets/turn.secret secrets/sfu.secret secrets/ledger.secret
chown 999:999 secrets/postgres.secret
chown 472:0 secrets/grafana.secret
