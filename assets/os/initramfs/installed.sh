# The installed system: root and boot are partitions of one disk.

mount_sysroot() {
    modprobe -a ext4
    find_root
    log "root file system on $root_device"
    if flag ignition.firstboot; then
        grow_partition
    fi
    e2fsck -p "$root_device" >/run/e2fsck 2>&1
    [ $? -lt 4 ] || { log_output e2fsck cat /run/e2fsck; fail "check the root file system on $root_device"; }
    mount -t ext4 -o rw "$root_device" /sysroot || fail "mount the root file system on $root_device"
}

# find_root waits for the file system that root= names, on the disk that the boot loader was started from
# (boot=PARTUUID=): another disk of the machine may carry an older installation with the same label.
find_root() {
    spec=$(argument root)
    booted=$(argument boot)
    case "$spec" in
    LABEL=* | UUID=* | PARTUUID=* | PARTLABEL=* | /dev/*) ;;
    *) fail "the kernel command line names neither coreos.live.rootfs_url= nor root= (root=$spec)" ;;
    esac
    waited=0
    until candidates && choose; do
        waited=$((waited + 1))
        [ $((waited % 50)) -eq 0 ] && log "waiting for $spec"
        [ $waited -lt 600 ] || fail "no disk has $spec"
        sleep 0.2
    done
    root_disk=$(disk_of "$root_device")
}

choose() {
    for root_device in $found; do
        case "$booted" in PARTUUID=*) ;; *) return 0 ;; esac
        boot_device=$(partition "$(disk_of "$root_device")" boot)
        [ -n "$boot_device" ] && [ "PARTUUID=$(tag "$boot_device" PART_ENTRY_UUID)" = "$booted" ] && return 0
    done
    [ $waited -ge 100 ] && err "no disk has both $spec and the boot partition $booted: taking $root_device"
}

candidates() {
    load_drivers
    case "$spec" in
    /dev/*) found=$spec && [ -b "$spec" ] ;;
    *) found=$(blkid -c /dev/null -o device -t "$spec" | sort) && [ -n "$found" ] ;;
    esac
}

# tag DEVICE NAME
tag() { blkid -p -o value -s "$2" "$1" 2>/dev/null; }

disk_of() {
    path=$(readlink -f "/sys/class/block/${1##*/}")
    if [ -e "$path/partition" ]; then path=${path%/*}; fi
    echo "/dev/${path##*/}"
}

# partition DISK LABEL: the partition of the disk whose file system has the label.
partition() {
    for part in /sys/class/block/"${1##*/}"/*/partition; do
        part=/dev/$(basename "${part%/partition}")
        if [ "$(tag "$part" LABEL)" = "$2" ]; then
            echo "$part"
            return
        fi
    done
}

# The image's partition ends where the image ended; the backup of the partition table moves to the disk's end.
# All disks with this image have the same identifiers: from now on this boot partition has one of its own.
grow_partition() {
    number=$(cat "/sys/class/block/${root_device##*/}/partition" 2>/dev/null) || return 0
    log_output sfdisk sfdisk -q --no-reread --relocate gpt-bak-std "$root_disk" || log "the backup of the partition table stays where it is"
    echo ', +' | sfdisk -q --no-reread --no-tell-kernel -N "$number" "$root_disk" >/run/sfdisk 2>&1 ||
        { log_output sfdisk cat /run/sfdisk; log "the root partition keeps its size"; }
    boot_number=$(cat "/sys/class/block/$(basename "$(partition "$root_disk" boot)")/partition")
    sfdisk -q --no-reread --no-tell-kernel --part-uuid "$root_disk" "$boot_number" "$(cat /proc/sys/kernel/random/uuid)" >/run/sfdisk 2>&1 ||
        log_output sfdisk cat /run/sfdisk
    blockdev --rereadpt "$root_disk" || err "$root_disk: the kernel keeps the old partition table until the next start"
    waited=0
    while [ ! -b "$root_device" ] && [ $waited -lt 50 ]; do
        waited=$((waited + 1))
        sleep 0.1
    done
}

before_ignition() {
    log_output resize2fs resize2fs "$root_device" || err "the root file system keeps its size"
    boot_device=$(partition "$root_disk" boot)
    [ -n "$boot_device" ] || fail "$root_disk has no boot partition"
    mkdir -p /boot /usr/lib/ignition
    mount -t ext4 -o rw,nosuid,nodev,noexec "$boot_device" /boot || fail "mount the boot partition $boot_device"
    if [ -e /boot/ignition/config.ign ]; then
        (umask 077 && cp /boot/ignition/config.ign /usr/lib/ignition/user.ign) || fail "read /boot/ignition/config.ign"
    else
        log "the boot partition has no ignition/config.ign"
    fi
    if [ -e /boot/coreos-firstboot-network ]; then
        mkdir -p "$keyfiles"
        cp /boot/coreos-firstboot-network/*.nmconnection "$keyfiles" || fail "read /boot/coreos-firstboot-network"
    fi
}

# Ignition refuses to write over files unless told to, so a second attempt has to know that it is one.
again() {
    [ -e /sysroot/var/lib/slipway-firstboot ] && return 0
    mkdir -p /sysroot/var/lib
    : >/sysroot/var/lib/slipway-firstboot
    sync
    return 1
}

# The root file system is on the disk before the request for a first boot goes, and its secrets with it.
after_ignition() {
    rm -f /usr/lib/ignition/user.ign /sysroot/var/lib/slipway-firstboot
    sync
    rm -rf /boot/coreos-firstboot-network
    rm -f /boot/ignition/config.ign /boot/ignition.firstboot
    rmdir /boot/ignition 2>/dev/null
    sync
    umount /boot
    log "Ignition is done; the next boot is a normal one"
}
