#!/usr/bin/env bash
# buildah 1.28.2 (Debian 12): with `--layers` WORKDIR itself makes no directory. A COPY into it makes it, as root's, and
# where nothing follows it is not in the image whose config names it. Without `--layers` WORKDIR makes it at once, as
# USER's. So one Containerfile gives images of different files, and a program that may write to its working directory
# in the one may not in the other.
# Seen, of `COPY f /f`, `USER 5`, `WORKDIR /work`, and of the same with `COPY f g` behind it: without --layers
# `f=0/0 work=5/5` and `f=0/0 work/g=0/0 work=5/5`, with it `f=0/0` and `f=0/0 work/g=0/0 work=0/0`. Fails if that
# changes.
set -euo pipefail

version='1.28.2+ds1-3+deb12u1+b3'
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
cd "$place"
apt-get -q download "buildah=$version" libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1 libseccomp2 libsubid4 \
    golang-github-containers-common golang-github-containers-image >/dev/null
for package in ./*.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$place/root/usr/lib/x86_64-linux-gnu:$place/root/lib/x86_64-linux-gnu
buildah() {
    "$place/root/usr/bin/buildah" --root "$place/storage" --runroot "$place/run" --storage-driver vfs "$@"
}
buildah --version | grep -q '^buildah version 1\.28\.2 '

mkdir context
echo x >context/f
printf 'FROM scratch\nCOPY f /f\nUSER 5\nWORKDIR /work\n' >context/alone
{ cat context/alone && echo 'COPY f g'; } >context/followed

files() { # OPTION FILE: names and owners of what the image of a Containerfile holds
    local name=image$RANDOM$RANDOM blob
    buildah build -q --format oci "$1" -f "context/$2" -t "$name" context >/dev/null
    buildah push -q "$name" "oci:$place/$name"
    for blob in "$name"/blobs/sha256/*; do
        tar --numeric-owner -tvf "$blob" 2>/dev/null || true
    done | awk '{ sub("/$", "", $6); print $6 "=" $2 }' | LC_ALL=C sort -u | paste -sd' '
}

seen="$(files --layers=false alone); $(files --layers=false followed); $(files --layers alone); $(files --layers followed)"
echo "alone and followed, without and with --layers: $seen"
[[ $seen == 'f=0/0 work=5/5; f=0/0 work/g=0/0 work=5/5; f=0/0; f=0/0 work/g=0/0 work=0/0' ]]
