# The live system: root file system from the network or from the medium that was booted, kept in memory.

mount_sysroot() {
    modprobe -a loop squashfs overlay
    load_all_drivers
    choose_network
    if [ -n "$url" ]; then
        network_up
        static_fallback /run/live/rootfs.img
    else
        mount_medium
        url=file:///run/medium/images/pxeboot/rootfs.img
    fi
    mkdir -p /run/live
    mount -t tmpfs -o nodev,nosuid,mode=0700,size=90% tmpfs /run/live || fail "make room for the root file system"
    mkdir -p /run/live/lower /run/live/writable
    log_output rootfs firstboot rootfs -url "$url" -sha256 "$(cat /etc/slipway-rootfs.sha256)" -out /run/live/rootfs.img ||
        fail "fetch the root file system from $url"
    [ -e /run/medium ] && umount /run/medium && rmdir /run/medium
    mount -t squashfs -o loop,ro /run/live/rootfs.img /run/live/lower || fail "mount the root file system"
    mount -t tmpfs -o mode=0755,size=75% tmpfs /run/live/writable || fail "make the writable layer"
    mkdir -p /run/live/writable/upper /run/live/writable/work
    mount -t overlay -o lowerdir=/run/live/lower,upperdir=/run/live/writable/upper,workdir=/run/live/writable/work \
        overlay /sysroot || fail "mount the writable layer over the root file system"
}

# mount_medium waits for the volume that coreos.liveiso= names: a CD, or the same image on a USB stick.
mount_medium() {
    modprobe -a -q sr_mod isofs
    waited=0
    until find_medium; do
        waited=$((waited + 1))
        [ $((waited % 50)) -eq 0 ] && err "waiting for a CD or USB stick with the volume $medium"
        load_drivers
        sleep 0.2
    done
    log "live medium on $medium_device"
    mkdir -p /run/medium
    mount -t iso9660 -o ro,nosuid,nodev,noexec "$medium_device" /run/medium || fail "mount the live medium on $medium_device"
}

find_medium() {
    for path in /sys/class/block/*; do
        medium_device=/dev/${path##*/}
        case "$medium_device" in /dev/ram* | /dev/loop* | /dev/fd*) continue ;; esac
        [ "$(blkid -p -o value -s LABEL "$medium_device" 2>/dev/null)" = "$medium" ] && return 0
    done
    return 1
}

# The configuration that was appended to the initramfs; ignition.config.url on the command line comes first.
before_ignition() {
    mkdir -p /usr/lib/ignition
    [ -e /config.ign ] && mv /config.ign /usr/lib/ignition/user.ign
    return 0
}

again() { return 1; }

after_ignition() { rm -f /usr/lib/ignition/user.ign; }
