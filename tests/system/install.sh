#!/bin/sh
# Installs a package over a copy of this system that only this process sees, uses it, and takes it away again.
#
#     unshare --mount install.sh PACKAGE DIRECTORY
#
# Prints what is to be judged, a line each: NAME: VALUE. Whatever changes is written to memory and ends with the process.
set -eu
package=$1 place=$2
mount -t tmpfs none "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay none -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root"
mount --bind /dev "$place/root/dev"
mount -t proc proc "$place/root/proc"
cp "$package" "$place/root/root/package.deb"
inside() { chroot "$place/root" "$@"; }
tell() { printf '%s: %s\n' "$1" "$2"; }
# What is there that was not, but for the system's own books; what is deleted of the system is a device here.
left() {
    (cd "$place/upper" && find . -path ./root -prune -o -path ./var/lib/dpkg -prune -o -path ./var/log/dpkg.log -prune \
        -o ! -type d -print -o -name '*cupbearer*' -print | sort | tr '\n' ' ')
}

inside dpkg --install --no-triggers /root/package.deb >/dev/null
tell status "$(inside dpkg-query --show --showformat '${db:Status-Abbrev}' cupbearer)"
tell altered "$(inside dpkg --verify cupbearer)"
tell conffiles "$(inside dpkg-query --show --showformat '${Conffiles}' cupbearer)"
tell version "$(inside cupbearer --version)"
tell user "$(inside getent passwd cupbearer | cut -d: -f6,7)"
tell configuration "$(inside stat -c '%U:%G %a' /etc/cupbearer)"
unit=/usr/lib/systemd/system/cupbearer.service
tell unit "$(inside sed -n 's/^\(User\|Group\|ExecStart\)=//p' $unit | tr '\n' ' ')"
tell enabled "$(inside systemctl --root=/ is-enabled cupbearer.service || true)"
inside install -m 0640 -g cupbearer /usr/share/doc/cupbearer/examples/cupbearer.toml /etc/cupbearer/cupbearer.toml
inside setpriv --reuid cupbearer --regid cupbearer --clear-groups cupbearer check --config /etc/cupbearer/cupbearer.toml \
    >/dev/null && tell check "as its user"
inside dpkg --install --no-triggers /root/package.deb >/dev/null && tell again "$(inside stat -c '%U:%G %a' /etc/cupbearer/cupbearer.toml)"
inside mkdir -p /var/lib/cupbearer /var/log/cupbearer
inside dpkg --remove --no-triggers cupbearer >/dev/null 2>&1
tell removed "$(inside ls -d /usr/bin/cupbearer /etc/cupbearer/cupbearer.toml /var/lib/cupbearer 2>/dev/null | tr '\n' ' ')"
inside rm /etc/cupbearer/cupbearer.toml
inside dpkg --purge --no-triggers cupbearer >/dev/null 2>&1
tell purged "$(inside dpkg-query --show --showformat '${db:Status-Abbrev}' cupbearer 2>/dev/null || echo unknown)"
tell left "$(left)"
