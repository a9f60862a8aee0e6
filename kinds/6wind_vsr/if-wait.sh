#!/bin/sh
# Holds the boot until every link of the node is there. CLAB_INTFS says how many.
want=${CLAB_INTFS:-0}
limit=300
case $want in *[!0-9]* | '') want=0 ;; esac
while [ "$want" -gt 0 ] && [ "$limit" -gt 0 ]; do
    have=$(ls /sys/class/net | grep -c -E '^(e[1-9]|et[0-9]|eth[1-9]|net[0-9])')
    [ "$have" -ge "$want" ] && break
    limit=$((limit - 1))
    sleep 1
done
[ "$limit" -gt 0 ] || echo "links missing after 300 s, starting without them"
