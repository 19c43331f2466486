"""Secrets that a Containerfile copies into its image: told, and left out by the corrected line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from filecheck import Context, place

if TYPE_CHECKING:
    from pathlib import Path

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env", "A=b\n"),
        (".env.production", "A=b\n"),
        ("id_ed25519", KEY),
        ("tls/server.key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"),
        ("config/signing", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n"),
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".aws/credentials", "[default]\naws_secret_access_key = abc\n"),
        ("gcloud.json", '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nx"}'),
        (".kube/config", "users:\n- user:\n    client-key-data: abc\n"),
        (".docker/config.json", '{"auths": {"quay.io": {"auth": "YTpi"}}}'),
        (".netrc", "machine example.org login a password b\n"),
        (".npmrc", "//registry.npmjs.org/:_authToken=abc\n"),
    ],
)
def test_a_secret_that_a_directory_brings_along_is_told_and_left_out(
    context: Context, name: str, content: str
) -> None:
    context.put(f"src/{name}", content)
    lines = ("FROM scratch", "COPY app /", "COPY src /src", 'CMD ["/app"]')
    found = context.only(*lines, rule="secret-copied")
    assert (found.severity, place(found).line, found.subject) == ("warning", 3, f"/src/{name}")
    context.mended(*lines, rule="secret-copied")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env.example", "A=b\n"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIE\n"),
        ("id_ed25519.pub", "ssh-ed25519 AAAA a@b\n"),
        (".npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n"),
        (".docker/config.json", '{"credsStore": "pass"}'),
        ("package.json", '{"private": true}'),
        ("README", "Begin a key by -----BEGIN PRIVATE KEY-----.\n"),
        (".gitignore", "x\n"),
    ],
)
def test_a_file_that_only_sounds_like_a_secret_is_let_be(context: Context, name: str, content: str) -> None:
    context.put(f"src/{name}", content)
    assert context.rules("FROM scratch", "COPY app /", "COPY src /src", 'CMD ["/app"]') == []


def test_a_secret_that_is_copied_by_its_name_is_told_and_kept(context: Context) -> None:
    context.put("server.key", KEY)
    found = context.only("FROM scratch", "COPY server.key /etc/", rule="secret-copied")
    assert place(found).corrected is None
