#!/bin/sh
# Builds Debian's own source package of libsrtp2 with OpenSSL instead of NSS, for Janus as somebody would
# run it who knows: build_srtp.sh FOLDER, which then holds libsrtp2.so.1. Nothing is installed, nothing
# of the system's apt is changed. SPDX-License-Identifier: BSD-3-Clause
set -eu
[ $# = 1 ] || { echo "usage: build_srtp.sh FOLDER" >&2; exit 64; }
mkdir -p "$1"
cd "$1"
[ ! -e libsrtp2.so.1 ] || exit 0
# apt-get source wants deb-src lines: those that are there, as source lines.
mkdir -p sources lists/partial
for f in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$f" ] || sed 's/^Types:.*/Types: deb-src/' "$f" >"sources/$(basename "$f")"
done
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -e "$f" ] || sed -n 's/^deb /deb-src /p' "$f" >"sources/$(basename "$f")"
done
get() {
    apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$PWD/sources" \
        -o Dir::State::lists="$PWD/lists" -o APT::Sandbox::User=root "$@"
}
get update >log 2>&1
get source --download-only libsrtp2 >>log 2>&1
tar xf libsrtp2_*.orig.tar.*
cd libsrtp*/
tar xf ../libsrtp2_*.debian.tar.*
while read -r p; do [ -z "$p" ] || patch -s -p1 <"debian/patches/$p"; done <debian/patches/series
{ ./configure --enable-openssl --disable-stdout --enable-syslog CFLAGS="-O2 -fPIC" && make -j2 shared_library; } >>../log 2>&1
cp -L libsrtp2.so.1 ..
