# The live system: root file system from the network, kept in memory.

mount_sysroot() {
    modprobe -a loop squashfs overlay
    load_all_drivers
    network_up
    mkdir -p /run/live
    mount -t tmpfs -o nodev,nosuid,mode=0700,size=90% tmpfs /run/live || fail "make room for the root file system"
    mkdir -p /run/live/lower /run/live/writable
    log_output rootfs firstboot rootfs -url "$url" -sha256 "$(cat /etc/slipway-rootfs.sha256)" -out /run/live/rootfs.img ||
        fail "fetch the root file system from $url"
    mount -t squashfs -o loop,ro /run/live/rootfs.img /run/live/lower || fail "mount the root file system"
    mount -t tmpfs -o mode=0755,size=75% tmpfs /run/live/writable || fail "make the writable layer"
    mkdir -p /run/live/writable/upper /run/live/writable/work
    mount -t overlay -o lowerdir=/run/live/lower,upperdir=/run/live/writable/upper,workdir=/run/live/writable/work \
        overlay /sysroot || fail "mount the writable layer over the root file system"
}

# The configuration that was appended to the initramfs; ignition.config.url on the command line comes first.
before_ignition() {
    mkdir -p /usr/lib/ignition
    [ -e /config.ign ] && mv /config.ign /usr/lib/ignition/user.ign
    return 0
}

again() { return 1; }

after_ignition() { rm -f /usr/lib/ignition/user.ign; }
