#!/bin/bash
# usage: alone.sh COMMAND...: run COMMAND as root in namespaces of its own for networks, mounts and processes.
# It reaches the internet through slirp4netns, and no port of this machine. When it ends, its daemons end, and with them
# all mounts, bridges and rules of its firewall: nothing of the machine must be restored. SWELL_ALONE is a name for
# groups of cgroup v1, which have no such namespace; they are removed.
set -euo pipefail

# shellcheck disable=SC2016  # expanded by the inner shell
inside='
	read -r _ < "$1"; shift
	mount --make-rshared /
	mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log
	echo "nameserver 10.0.2.3" > /run/resolv.conf
	mount --bind /run/resolv.conf "$(readlink -f /etc/resolv.conf)"
	ip link set lo up
	exec "$@"
'
export SWELL_ALONE=swell-alone-$$
work=$(mktemp -d)
end() {
	kill -9 "$alone" 2>/dev/null || true
	kill "${slirp:-$alone}" 2>/dev/null || true
	wait 2>/dev/null || true
	find /sys/fs/cgroup -depth -type d -path "*/$SWELL_ALONE*" -exec rmdir {} + 2>/dev/null || true
	rm -rf "$work"
}

mkfifo "$work/ready"
unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
	-- bash -ec "$inside" alone "$work/ready" "$@" &
alone=$!
trap end EXIT
until [ "$(readlink "/proc/$alone/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
slirp4netns --configure --mtu=65520 --disable-host-loopback "$alone" tap0 >"$work/slirp.log" 2>&1 &
slirp=$!
until grep -q tap0 "/proc/$alone/net/dev" 2>/dev/null; do sleep 0.05; done
echo go >"$work/ready"
wait "$alone"
