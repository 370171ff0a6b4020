#!/bin/sh
# Runs in the initramfs before the network comes up: takes the network of this machine from those of its InfraEnv.
# The machine is recognised by the MAC address of any of its ports; without a match everything stays as it is.
# Arguments, for tests: the root directory.
set -eu
umask 077
root=${1:-}
networks=$root/etc/assisted/network
target=$root/etc/coreos-firstboot-network

# ports: the MAC address and the name of each port that is hardware.
ports() {
    for port in "$root"/sys/class/net/*; do
        [ -e "$port/device" ] && echo "$(tr A-F a-f <"$port/address") ${port##*/}"
    done
    return 0
}

# network: the directory that has one of the MAC addresses.
network() {
    ports | while read -r mac name; do
        grep -l -i "^$mac=" "$networks"/*/mac_interface.ini && break
    done | head -n 1
}

# Drivers may still be looking for their ports: until a known one is there, or for 3 s none has come.
last= still=0 tries=0
until found=$(network) && [ -n "$found" ]; do
    now=$(ports | sort)
    if [ -n "$now" ] && [ "$now" = "$last" ]; then still=$((still + 1)); else still=0; fi
    last=$now tries=$((tries + 1))
    [ $still -lt 3 ] && [ $tries -lt 30 ] || exit 0
    sleep 1
done
found=${found%/*}

# A bond names its first port: the name in the configuration becomes that of this machine.
set --
while IFS== read -r mac logical; do
    real=$(ports | sed -n "s/^$mac //p")
    [ -n "$real" ] && set -- "$@" -e "s/^\(primary\|active_slave\)=$logical\$/\1=$real/" -e t
done <"$found/mac_interface.ini"
rm -rf "$target"
mkdir -p "$target"
for file in "$found"/*.nmconnection; do
    sed -e '' "$@" "$file" >"$target/${file##*/}"
done
echo "slipway: the network of this machine is ${found##*/}'s" >&2
