#!/bin/bash
# The first process of a node's mount, network and pid namespaces: everything inside ends with it. It gets
# FOLDER (the cluster's), NODE_ADDRESS, API_SERVICE, and DRIVER_ROOT where there is a fake node.
#
# Whatever Kubernetes writes outside the cluster's folder is written over with mounts, so that the host keeps its
# own files. A mount needs a place: where the host lacks one, it is made in a copy of the folder above it.
set -euo pipefail

mount --make-rprivate /

# First, for mount keeps notes there.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/cdi /run/netns /run/lock
if ! [ -L /var/run ]; then
    mount --rbind /run /var/run
fi

# /var/lib: the host's entries, each mounted by itself, and our own in place of those that belong to a node.
# (An overlay would do with one mount, but hide a home or a build folder that lies beneath.)
new="$FOLDER/var-lib"
mount -t tmpfs -o mode=755 tmpfs "$new"
shopt -s nullglob dotglob
for entry in /var/lib/*; do
    name="${entry##*/}"
    case "$name" in
    kubelet | cni | containerd) ;;
    *)
        if [ -L "$entry" ]; then
            cp --no-dereference "$entry" "$new/$name"
        elif [ -d "$entry" ]; then
            mkdir "$new/$name"
            mount --rbind "$entry" "$new/$name"
        elif [ -f "$entry" ]; then
            touch "$new/$name"
            mount --bind "$entry" "$new/$name"
        fi
        ;;
    esac
done
mkdir "$new/kubelet" "$new/cni" "$new/containerd"
mount --bind "$FOLDER/kubelet" "$new/kubelet"
mount --move "$new" /var/lib

# /etc: CDI specs for the life of a node. Without overlayfs there are only those of /var/run/cdi.
if ! [ -d /etc/cdi ]; then
    mkdir "$FOLDER/etc"
    mount -t tmpfs -o mode=755 tmpfs "$FOLDER/etc"
    mkdir "$FOLDER/etc/upper" "$FOLDER/etc/work"
    if mount -t overlay -o "lowerdir=/etc,upperdir=$FOLDER/etc/upper,workdir=$FOLDER/etc/work" overlay /etc; then
        mkdir /etc/cdi
    fi
else
    mount -t tmpfs -o mode=755 tmpfs /etc/cdi
fi

mount --bind "$FOLDER/var-log" /var/log

# The kubelet sets these for the whole machine; it gets plain files instead.
mkdir "$FOLDER/sysctl"
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    file="$FOLDER/sysctl/$(basename "${setting%=*}")"
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done

if [ -n "${DRIVER_ROOT:-}" ]; then
    mkdir -p /run/nvidia/driver
    mount --rbind "$DRIVER_ROOT" /run/nvidia/driver
fi

# Pods may ask for mounts that reach the node; from this namespace they reach nobody else.
mount --make-rshared /

# The node's address, and that of the API server's Service: pods reach both without kube-proxy.
ip link set lo up
ip link add node0 type bridge
ip address add "$NODE_ADDRESS/24" dev node0
ip address add "$API_SERVICE/32" dev node0
ip link set node0 up
# Nobody is there, but the kubelet and pods expect a default route.
ip route add default via "${NODE_ADDRESS%.*}.254" dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

touch "$FOLDER/namespaces-ready"
# To the kernel, a first process that ignores SIGCHLD has waited for every orphan.
trap '' CHLD
exec sleep infinity
