#!/usr/bin/env bash
# skopeo 1.9.3 (Debian 12) passes over TMPDIR: it spools in /var/tmp, and only --tmpdir moves that.
# Its siblings buildah and podman of the same libraries take TMPDIR; whoever makes room with it, or removes it after a
# kill, misses what skopeo writes.
# Seen: with TMPDIR a directory that is not there, copying an oci-archive succeeds; with --tmpdir it fails with
# "... no such file or directory". Fails if that changes.
set -euo pipefail

version='1.9.3+ds1-1+b10'
place=$(mktemp -d)
chmod 755 "$place"
trap 'rm -rf "$place"' EXIT
cd "$place"

apt-get -q download "skopeo=$version" libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1 >/dev/null
for package in ./*.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$place/root/usr/lib/x86_64-linux-gnu:$place/root/lib/x86_64-linux-gnu
skopeo=$place/root/usr/bin/skopeo
"$skopeo" --version | grep -q '^skopeo version 1\.9\.3'
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json

# An image of one empty layer, by the OCI image specification v1.1.
mkdir -p image/blobs/sha256
blob() { # CONTENT: a blob of the image; prints its digest
    local digest
    digest=$(printf '%s' "$1" | sha256sum | cut -d' ' -f1)
    printf '%s' "$1" >"image/blobs/sha256/$digest"
    printf '%s' "$digest"
}
dd if=/dev/zero of=layer bs=1024 count=1 status=none
layer=$(sha256sum layer | cut -d' ' -f1)
mv layer "image/blobs/sha256/$layer"
oci=application/vnd.oci.image
config='{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:'$layer'"]}}'
manifest='{"schemaVersion":2,"mediaType":"'$oci'.manifest.v1+json","config":{"mediaType":"'$oci'.config.v1+json","digest":"sha256:'$(
    blob "$config"
)'","size":'${#config}'},"layers":[{"mediaType":"'$oci'.layer.v1.tar","digest":"sha256:'$layer'","size":1024}]}'
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%d}]}' \
    "$oci" "$(blob "$manifest")" "${#manifest}" >image/index.json
printf '{"imageLayoutVersion":"1.0.0"}' >image/oci-layout
tar -C image -cf image.tar .

copy() { "$skopeo" --policy "$place/policy.json" "$@" copy --quiet oci-archive:image.tar "dir:$place/out"; }

TMPDIR=$place/missing copy
echo "TMPDIR=/missing: copied all the same"
if said=$(copy --tmpdir "$place/missing" 2>&1); then
    echo "--tmpdir is passed over too: this has changed" >&2
    exit 1
fi
grep -o 'no such file or directory' <<<"$said" | head -n 1 | sed 's/^/--tmpdir \/missing: /'
