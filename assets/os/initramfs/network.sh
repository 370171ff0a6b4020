# Addresses for the initramfs: DHCP of both families on every port with a cable, and what the kernel makes of router
# advertisements.
# The system does all this again, properly: nothing of it is kept.

network_up() {
    [ -e /run/net/up ] && return
    : >/run/net/up
    load_all_drivers
    modprobe -a -q af_packet ipv6 2>/dev/null
    ip link set lo up
    is_static && static_up
    tries=0
    until ports_up; do
        is_static && break
        tries=$((tries + 1))
        [ $((tries % 50)) -eq 0 ] && err "no network port has a link"
        load_all_drivers
        sleep 0.2
    done
    # Some seconds for all ports: which of them leads to the server is not known here.
    tries=0
    until has_address || [ $tries -ge 150 ]; do
        tries=$((tries + 1))
        ports_up
        sleep 0.1
    done
    if has_address; then
        log "addresses: $(ip -o addr show scope global | awk '{print $2, $4}' | tr '\n' ' ')"
    else
        err "no address yet by DHCP or router advertisement; going on trying"
    fi
}

# ports_up starts a DHCP client on each port that has a link and none yet. Returns 0 when there is such a port.
ports_up() {
    some=1
    for path in /sys/class/net/*; do
        port=${path##*/}
        [ -e "$path/device" ] && [ "$(cat "$path/type")" = 1 ] && [ ! -e "/run/net/$port.claimed" ] || continue
        [ "$(cat "$path/operstate")" = down ] && [ "$(cat "$path/carrier" 2>/dev/null)" = "" ] && ip link set "$port" up
        [ "$(cat "$path/carrier" 2>/dev/null)" = 1 ] || continue
        some=0
        [ -e "/run/net/$port.pid" ] && continue
        log "network port $port ($(cat "$path/address"), driver $(basename "$(readlink "$path/device/driver")"))"
        dhcp_on "$port"
        dhcp6_on "$port"
    done
    return $some
}

# dhcp_on starts a DHCP client on a device that has none.
dhcp_on() {
    [ -e "/run/net/$1.pid" ] && return
    udhcpc -i "$1" -f -t 5 -T 2 -A 5 -s /usr/lib/slipway/dhcp-event >/dev/null 2>&1 </dev/null &
    echo $! >"/run/net/$1.pid"
}

# dhcp6_on does the same for IPv6, where a router asks for it.
dhcp6_on() {
    [ -e "/run/net/$1.dhcp6.pid" ] && return
    (exec firstboot dhcp6 "$1" >/dev/kmsg 2>&1 </dev/null) &
    echo $! >"/run/net/$1.dhcp6.pid"
}

# has_address: one that is not still being checked for duplicates.
has_address() { ip -o addr show scope global | grep -q -v tentative; }

network_down() {
    [ -e /run/net/up ] || return
    for pid in /run/net/*.pid; do
        [ -e "$pid" ] && kill "$(cat "$pid")" 2>/dev/null
    done
    static_down
    # Down, because udev does not rename a port that is up.
    for path in /sys/class/net/*; do
        [ -e "$path/device" ] || continue
        ip addr flush dev "${path##*/}"
        ip link set "${path##*/}" down
    done
}
