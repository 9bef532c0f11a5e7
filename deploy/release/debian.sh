#!/usr/bin/env bash
# Packs the Debian package: debian.sh STAGE ARCHITECTURE OUTPUT; STAGE holds the program. For build.sh.
set -euo pipefail
stage=$1 architecture=$2 output=$3
root=$stage/debian
share=$root/usr/share
doc=$share/doc/cupbearer
install -D -m 755 "$stage/cupbearer" "$root/usr/bin/cupbearer"
install -D -m 644 -t "$root/usr/lib/systemd/system" deploy/systemd/cupbearer.service
install -D -m 644 deploy/release/debian/sysusers.conf "$root/usr/lib/sysusers.d/cupbearer.conf"
# A sample: what the pools are, nobody knows but the administrator.
install -D -m 644 -t "$doc/examples" deploy/release/cupbearer.toml
install -m 644 README.md SECURITY.md "$doc"
install -m 644 deploy/release/debian/copyright "$doc/copyright"
printf 'cupbearer (%s) stable; urgency=medium\n\n  * See the commits of this version.\n\n -- The cupbearer authors <%s>  %s\n' \
    "$CUPBEARER_VERSION" "cupbearer@example.com" "$(date -R -d "@$SOURCE_DATE_EPOCH")" \
    | gzip -9n > "$doc/changelog.gz"
deploy/release/manual.sh "$stage/cupbearer" "$share/man/man1" "$stage/completions"
gzip -9n "$share"/man/man1/*
install -D -m 644 -t "$share/bash-completion/completions" "$stage/completions/cupbearer"
install -D -m 644 -t "$share/zsh/vendor-completions" "$stage/completions/_cupbearer"
install -D -m 644 -t "$share/fish/vendor_completions.d" "$stage/completions/cupbearer.fish"
install -d "$root/etc/cupbearer" "$root/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "deploy/release/debian/$script" "$root/DEBIAN/$script"
done
# In KiB, as if each file took whole ones: not what this file system makes of it.
size=$(find "$root/usr" -type f -printf '%s\n' | awk '{ total += int(($1 + 1023) / 1024) } END { print total }')
sed -e "s/@VERSION@/$CUPBEARER_VERSION/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    deploy/release/debian/control > "$root/DEBIAN/control"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz "-z$COMPRESSION" --threads-max=1 --build "$root" "$output/cupbearer_${CUPBEARER_VERSION}_$architecture.deb" \
    >/dev/null
