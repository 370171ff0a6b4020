# Messages, kernel arguments, devices and the run of Ignition, for both ways through.

# Messages go to the kernel's log: they are on every console at once, and later in the journal.
log() { echo "<6>slipway: $*" >/dev/kmsg; }
err() { echo "<3>slipway: $*" >/dev/kmsg; }

# log_output MARK COMMAND...: runs the command, its output line by line in the log; keeps the exit status.
log_output() {
    mark=$1
    shift
    { { "$@" 2>&1; echo $? >/run/status; } | while IFS= read -r line; do echo "<6>$mark: $line"; done >/dev/kmsg; }
    return "$(cat /run/status)"
}

# fail MESSAGE: nothing that a machine in a rack could ask anybody; it says why and tries again from the start.
fail() {
    err "FATAL: $*"
    for left in 60 40 20; do
        err "the machine restarts in $left s (reason: $*)"
        sleep 20
    done
    sync
    reboot -f
}

# argument NAME: the value of the last NAME=value on the kernel command line.
argument() {
    value=
    set -f
    for word in $(cat /proc/cmdline); do
        case "$word" in "$1="*) value=${word#*=} ;; esac
    done
    set +f
    echo "$value"
}

flag() {
    case " $(cat /proc/cmdline) " in *" $1 "* | *" $1="*) return 0 ;; esac
    return 1
}

# load_drivers: modules for the devices that the buses have reported. Returns 1 when there was nothing new.
load_drivers() {
    find /sys/devices -name modalias -exec cat {} + 2>/dev/null |
        grep -E '^(pci|virtio|scsi|usb|vmbus|xen|acpi|platform|nvme|mdio):' | sort -u >/run/modalias
    cmp -s /run/modalias /run/modalias.loaded && return 1
    xargs modprobe -a -b -q </run/modalias 2>/dev/null
    mv /run/modalias /run/modalias.loaded
}

load_all_drivers() {
    while load_drivers; do :; done
}

# ignition_stage STAGE. When a stage fails, ignition prints the whole configuration with its secrets on stderr:
# that part stays here.
ignition_stage() {
    log_output "ignition[$1]" ignition_quietly "$1" && return
    sed '/^Full config:/,$d' /run/ignition/stderr | while IFS= read -r line; do err "ignition[$1]: $line"; done
    fail "Ignition stage $1 failed, see the lines above"
}

ignition_quietly() {
    ignition --root=/sysroot --platform="$platform" --stage="$1" \
        --config-cache=/run/ignition/config.json --state-file=/run/ignition/state --neednet=/run/ignition/neednet \
        --log-to-stdout 2>/run/ignition/stderr
}

# run_ignition: the stages in their order; the network comes up as soon as the configuration asks for it.
run_ignition() {
    platform=$(argument ignition.platform.id)
    platform=${platform:-metal}
    ignition_stage fetch-offline
    if [ -e /run/ignition/neednet ]; then
        network_up
        ignition_stage fetch
    fi
    if again; then
        log "an earlier run of Ignition was interrupted: its files are overwritten"
        log_output firstboot firstboot overwrite /run/ignition/config.json || fail "prepare the repetition of Ignition"
    fi
    ignition_stage kargs
    ignition_stage disks
    ignition_stage mount
    ignition_stage files
    # Makes systemd treat the next boot as the first one: Ignition's unit presets and ConditionFirstBoot apply.
    echo uninitialized >/sysroot/etc/machine-id
}
