#!/usr/bin/env bash
# podman 4.3.1 (Debian 12): DELETE /libpod/containers/NAME passes over `v=true`, which its reference names for anonymous
# volumes, and removes them by `volumes=true`; the Docker-compatible DELETE /containers/NAME is the other way round.
# Whoever follows the reference leaves a volume behind with each container that had one.
# Seen: of a container with an anonymous volume 1 volume stays after v=true by /libpod, 0 after volumes=true; by the
# compatible path 0 after v=true and 1 after volumes=true. Fails if that changes.
set -euo pipefail

version='4.3.1+ds1-8+deb12u1+b3'
place=$(mktemp -d)
chmod 755 "$place"
mkdir "$place/files" "$place/tmp"
cd "$place"
apt-get -q download "podman=$version" conmon runc libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1 libseccomp2 \
    libsubid4 golang-github-containers-common golang-github-containers-image netavark >/dev/null
for package in ./*.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$place/root/usr/lib/x86_64-linux-gnu:$place/root/lib/x86_64-linux-gnu
export PATH=$place/root/usr/bin:$place/root/usr/sbin:$PATH TMPDIR=$place/tmp
cat >containers.conf <<END
[engine]
conmon_path = ["$place/root/usr/bin/conmon"]
cgroup_manager = "cgroupfs"
events_logger = "none"
[engine.runtimes]
runc = ["$place/root/usr/sbin/runc"]
END
export CONTAINERS_CONF=$place/containers.conf
podman() {
    "$place/root/usr/bin/podman" --root "$place/storage" --runroot "$place/run" --tmpdir "$place/libpod" \
        --storage-driver vfs --runtime runc "$@"
}
podman --version | grep -q '^podman version 4\.3\.1'

podman system service --time 0 "unix://$place/socket" 2>service.log &
service=$!
trap 'kill "$service"; wait "$service" || true; rm -rf "$place"' EXIT
for _ in $(seq 100); do
    [[ -S socket ]] || sleep 0.1
done

api() { # METHOD PATH [BODY]
    curl -sS --fail-with-body --unix-socket "$place/socket" -X "$1" -H 'Content-Type: application/json' \
        ${3+--data "$3"} "http://d/v4.3.1$2"
}

mkdir -p files/v
tar -C files -cf rootfs.tar .
podman import -q rootfs.tar localhost/empty:1 >/dev/null

left() { # PATH QUERY: how many volumes stay of a container with an anonymous one
    local name=c$RANDOM$RANDOM
    api POST /libpod/containers/create '{"name":"'$name'","image":"localhost/empty:1","command":["/x"],
        "netns":{"nsmode":"none"},"volumes":[{"Name":"","Dest":"/v"}]}' >/dev/null
    api DELETE "$1/containers/$name?force=true&$2" >/dev/null
    podman volume ls -q | wc -l
    podman volume prune --force >/dev/null
}

seen="$(left /libpod v=true) $(left /libpod volumes=true) $(left '' v=true) $(left '' volumes=true)"
echo "volumes that stay: /libpod v=true, volumes=true; compatible v=true, volumes=true: $seen"
[[ $seen == '1 0 0 1' ]]
