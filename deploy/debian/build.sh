#!/bin/bash
# Makes the Debian package from what is built: called by `make deb`, which gives BUILD, VERSION and MAKE.
# Writes $BUILD/sori_VERSION_ARCH.deb. SPDX-License-Identifier: BSD-3-Clause
set -euo pipefail
here=$(dirname "$0")
arch=$(dpkg --print-architecture)
root=$BUILD/deb/sori
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

rm -rf "$BUILD/deb"
mkdir -p "$root/DEBIAN"
"$MAKE" --no-print-directory install DESTDIR="$root" PREFIX=/usr UNITDIR=/lib/systemd/system >/dev/null
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root"/usr/bin/*

doc=$root/usr/share/doc/sori
mkdir -p "$doc"
{
    cat "$here/copyright.head"
    # The text of a licence is indented, an empty line is a dot.
    sed -n '5,$p' LICENSE | sed -e 's/^$/./' -e 's/^/ /'
} >"$doc/copyright"
printf 'sori (%s) unstable; urgency=medium\n\n  * See the log of the repository.\n\n -- The Sori authors <sori@example.org>  %s\n' \
    "$VERSION" "$(date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
gzip -9n "$doc"/*.md

for script in postinst prerm postrm; do
    install -m755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find etc -type f | sed 's|^|/|' | LC_ALL=C sort >DEBIAN/conffiles)

# What the binaries are linked with. dpkg-shlibdeps wants a source package around itself.
mkdir -p "$BUILD/deb/debian"
printf 'Source: sori\n\nPackage: sori\nArchitecture: any\n' >"$BUILD/deb/debian/control"
depends=$(cd "$BUILD/deb" && dpkg-shlibdeps -O $(printf -- '-e%s ' sori/usr/bin/*) 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "build.sh: dpkg-shlibdeps found no libraries" >&2; exit 1; }

(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z |
    xargs -0 md5sum >DEBIAN/md5sums)
size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
sed -e "s/@VERSION@/$VERSION/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" -e "s/@DEPENDS@/$depends/" \
    "$here/control.in" >"$root/DEBIAN/control"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --build --root-owner-group "$root" "$BUILD/sori_${VERSION}_$arch.deb"
