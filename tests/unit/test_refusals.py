"""What skopeo says of registries is read for what it means, whatever else stands in the line."""

from __future__ import annotations

import pytest

from rootless_scratch.ship.refusals import judge_refusal

PING = "trying to reuse blob sha256:429500 at destination: pinging container registry localhost:5000: "
PUT = "writing manifest: uploading manifest 1 to localhost:5000/a/b"
GET = 'Get \\"http://localhost:5000/v2/\\": '


@pytest.mark.parametrize(
    ("cause", "said", "passing"),
    [
        (PING + GET + "dial tcp 127.0.0.1:5000: connect: connection refused", "connection refused", True),
        (PING + GET + "EOF", "was closed", True),
        (PING + GET + "dial tcp: lookup x: no such host", "There is no host", False),
        (PING + GET + "dial tcp 10.0.0.1:503: i/o timeout", "cannot be reached: i/o timeout", True),
        (
            PING + GET + "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "auth",
            False,
        ),
        (PING + "invalid status code from registry 503 (Service Unavailable)", "503 (Service Unavailable)", True),
        (PING + "invalid status code from registry 404 (Not Found)", "is not a registry", False),
        (
            "writing blob: uploading layer: received unexpected HTTP status: 500 Internal Server Error",
            "500 Int",
            True,
        ),
        ("writing blob: uploading layer chunked: StatusCode: 502, <html>", "localhost:5000 failed: 502.", True),
        ("writing blob: uploading layer chunked: toomanyrequests: slow", "no more requests", True),
        ("unable to retrieve auth token: invalid username/password: unauthorized: no", "requires a login", False),
        ("requested access to the resource is denied", "denies this login write access", False),
        (
            'Manifest list must be converted to type \\"application/vnd.oci.image.index.v1+json\\" to be written',
            "loses fields such as artifactType",
            False,
        ),
        (f"{PUT}: StatusCode: 415, <html>", "rejects the manifest of localhost:5000/a/b:1: 415.", False),
        (f"{PUT}: received unexpected HTTP status: 415 Unsupported Media Type", ": 415.", False),
        (f"{PUT}: StatusCode: 400, unsupported media type", ": unsupported media type.", False),
        (f"copying image 1/2 from manifest list: {PUT}: manifest invalid: x", ": manifest invalid.", False),
        (f"{PUT}: StatusCode: 400, <html>", "rejects the image: ", False),
        (
            PUT + r": errors:\ndigest invalid\nmanifest blob unknown: blob unknown to registry\n",
            "has lost a part of localhost:5000/a/b:1",
            True,
        ),
        (f"{PUT}: denied: unsupported", "denies this login write access", False),
        ("mkdir /somewhere: permission denied", "permission denied", False),
        ("something else happened", "rejects the image: something else happened.", False),
        ("", "skopeo said nothing", False),
    ],
)
def test_each_cause_is_told_apart(cause: str, said: str, *, passing: bool) -> None:
    refusal = judge_refusal(
        f'time="2026-01-01T00:00:00Z" level=fatal msg="{cause}"\n', name="localhost:5000/a/b:1"
    )
    assert said in refusal.cause
    assert refusal.passing == passing
    assert refusal.cause.endswith(".")
    assert refusal.fix.endswith((".", "`"))


def test_what_the_host_lacks_has_the_rule_of_doctor() -> None:
    cause = "Error loading trust policy: open /etc/containers/policy.json: no such file or directory"
    refusal = judge_refusal(f'level=fatal msg="{cause}"\n', name="localhost:5000/a/b:1")
    assert refusal.rule == "host-policy-missing"
    assert "doctor --fix" in refusal.fix
