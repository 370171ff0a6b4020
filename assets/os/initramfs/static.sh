# Static networking: NetworkManager keyfiles, which the initramfs brings up as far as it needs them. In the live system they
# come with the initramfs for all hosts of the InfraEnv, on the first boot of an installed one from the boot partition.
keyfiles=/etc/coreos-firstboot-network

# choose_network leaves the keyfiles of this machine in $keyfiles, if there are any for it.
choose_network() {
    choice=/usr/local/bin/pre-network-manager-config.sh
    [ -e "$choice" ] || return 0
    load_all_drivers
    log_output network "$choice" || err "choose the static network of this machine"
    rm -f "$choice"
}

is_static() { ls "$keyfiles"/*.nmconnection >/dev/null 2>&1; }

# static_up waits for the ports that the keyfiles name, and brings up what is made of them.
static_up() {
    modprobe -q bonding max_bonds=0
    modprobe -a -q 8021q bridge
    tries=0
    until firstboot network "$keyfiles" >/run/net/commands 2>/run/net/problem; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || { log_output network cat /run/net/problem; return 1; }
        load_all_drivers
        sleep 0.5
    done
    log "static network: $(ls "$keyfiles" | tr '\n' ' ')"
    . /run/net/commands
}

# What the commands are made of.
try() { log_output network "$@" || err "network: $* does not work"; }
claim() { : >"/run/net/$1.claimed"; }
made() { echo "$1" >>/run/net/made; }
nameserver() { grep -qs "^nameserver $1\$" /etc/resolv.conf || echo "nameserver $1" >>/etc/resolv.conf; }
silent6() { echo 0 >"/proc/sys/net/ipv6/conf/$1/accept_ra" 2>/dev/null; }
dhcp() { dhcp_on "$1"; }
dhcp6() { dhcp6_on "$1"; }

# static_fallback FILE: when nothing of the file has come after some time, the address that firmware had may still lead
# to the server: DHCP goes on beside the static addresses, untagged.
static_fallback() {
    is_static || return 0
    (
        sleep 30
        [ -s "$1" ] && exit
        err "the server is not reached by the static network: DHCP is tried on the same ports"
        for path in /sys/class/net/*; do
            port=${path##*/}
            [ "$(cat "$path/type")" = 1 ] && [ ! -e "$path/master" ] && [ ! -e "/proc/net/vlan/$port" ] && dhcp_on "$port"
        done
    ) &
    echo $! >/run/net/fallback.pid
}

# static_keep hands the keyfiles to NetworkManager of the system; a file that Ignition wrote stays.
static_keep() {
    is_static || return 0
    connections=/sysroot/etc/NetworkManager/system-connections
    mkdir -p "$connections"
    chmod 0700 "$connections"
    for file in "$keyfiles"/*.nmconnection; do
        name=${file##*/}
        [ -e "$connections/$name" ] && continue
        (umask 077 && cp "$file" "$connections/.$name.new" && mv "$connections/.$name.new" "$connections/$name") ||
            fail "keep the static network"
    done
}

# static_down takes away what was made: the system makes it again, with all that belongs to it.
static_down() {
    [ -e /run/net/made ] || return 0
    sort -r /run/net/made | while read -r device; do
        [ -e "/sys/class/net/$device" ] && ip link delete "$device"
    done
}
