#!/bin/sh
# What keepalived runs when a router changes its role: conntrackd is told to hand flows over.
# Usage: primary-backup.sh primary|backup|fault
tell() { /usr/sbin/conntrackd -C /etc/conntrackd/conntrackd.conf "$@"; }

case "$1" in
primary)
    tell -c # flows learnt from the other router go into the kernel
    tell -f # both caches start anew
    tell -R # the kernel's flows become our own cache
    tell -B # and the other router gets them
    ;;
backup)
    tell -s >/dev/null 2>&1 || tell -d # it must run to learn anything
    tell -t # flows that are no longer ours go soon
    tell -n # the other router sends what it has
    ;;
fault)
    tell -t
    ;;
*)
    echo "primary-backup.sh: primary, backup or fault, not '$1'" >&2
    exit 1
    ;;
esac
exit 0
