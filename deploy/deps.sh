#!/bin/sh
# Installs the Debian packages that are missing for the given purposes: build cluster test check
# fuzz bench images.
# Asks for root only when something is missing. SPDX-License-Identifier: BSD-3-Clause
set -eu
build="gcc make pkg-config libevent-dev libssl-dev libjansson-dev libmicrohttpd-dev libinih-dev libunistring-dev liburing-dev libhiredis-dev libusrsctp-dev libsrtp2-dev libjemalloc-dev libnghttp2-dev libsqlite3-dev libpq-dev openssl python3"
cluster="redis-server redis-tools postgresql util-linux"
test="libcmocka-dev lintian dpkg-dev prometheus python3-yaml python3-pytest python3-aioice python3-aiortc python3-websockets coturn libnice-dev libre-dev golang-go golang-github-pion-dtls.v2-dev golang-github-pion-ice.v2-dev golang-github-pion-turn.v2-dev clang libbpf-dev faketime haproxy sqlite3 nghttp2-server python3-h2 python3-hpack python3-aioapns python3-jsonschema chromium firefox-esr libnss3-tools nodejs iproute2 util-linux procps systemd libseccomp2 ethtool bpftool nftables ffmpeg"
check="clang libbpf-dev clang-format cppcheck git"
fuzz="clang libclang-rt-14-dev"
bench="clang libbpf-dev coturn nodejs python3-matplotlib python3-websockets util-linux iproute2 janus nftables ffmpeg patch nghttp2-server python3-hpack"

images="buildah podman crun debootstrap python3-pytest python3-yaml util-linux iproute2"

want=""
for purpose in "$@"; do
    case $purpose in
    build) want="$want $build" ;;
    cluster) want="$want $cluster" ;;
    test) want="$want $cluster $test" ;;
    check) want="$want $check" ;;
    bench) want="$want $cluster $bench" ;;
    images) want="$want $images" ;;
    fuzz) want="$want $fuzz" ;;
    *) echo "deps.sh: unknown purpose '$purpose' (build, cluster, test, check, fuzz, bench, images)" >&2; exit 64 ;;
    esac
done

missing=""
for p in $want; do
    # Node may have come from elsewhere than Debian: any node 18 or newer will do.
    if [ "$p" = nodejs ] && command -v node >/dev/null 2>&1; then continue; fi
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
case " $* " in *" test "* | *" bench "*)
    command -v npm >/dev/null 2>&1 || missing="$missing npm" ;;
esac

if [ -n "$missing" ]; then
    echo "Installing Debian packages:$missing"
    if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo"; fi
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "deps.sh: installing failed; the whole output is in $log" >&2
        exit 1
    fi
    rm -f "$log"
fi

# Packages of npm that tests and benches use (the daemons use none).
for purpose in "$@"; do
    case $purpose in test) dir=tests ;; bench) dir=bench/peers ;; *) continue ;; esac
    [ -f "$dir/package-lock.json" ] || continue
    if [ ! -d "$dir/node_modules" ] || [ "$dir/package-lock.json" -nt "$dir/node_modules" ]; then
        echo "Installing npm packages of $dir"
        (cd "$dir" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) && touch "$dir/node_modules"
    fi
done
