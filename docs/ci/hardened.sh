#!/bin/sh
# On a host hardened by STIG (user.max_user_namespaces=0): images are built, judged and pushed; nothing is run.
set -eu
rootless-scratch doctor --for build-direct --for push
rootless-scratch build ./hello -o oci:hello.image
rootless-scratch check oci:hello.image
rootless-scratch push oci:hello.image docker://registry.example.com/team/hello:1
# What an administrator may allow, for `build -t` and `run`; its exit code says that something is to be done:
rootless-scratch doctor --fix > repair.sh || true
