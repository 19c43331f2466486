#!/bin/sh
# Inside podman or docker, with their own defaults: CONTAINER=docker for the other one.
set -eu
image=registry.example.com/rootless-scratch:0.2.0
tool() {
    # With docker the files would be root's: --user "$(id -u):$(id -g)".
    "${CONTAINER:-podman}" run --rm --volume "$PWD:/work" "$image" "$@"
}
tool check ./hello
tool build ./hello -o oci:image -o docker-archive:hello.tar:hello
tool inspect oci:image
"${CONTAINER:-podman}" load --input hello.tar
