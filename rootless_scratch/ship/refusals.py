"""What skopeo says of a registry that does not take an image: the cause, the fix, and whether to try again.

The texts are those of containers/image, met with real registries and with a proxy that makes trouble.
"""

from __future__ import annotations

from rootless_scratch.command import last_cause
from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import redacted
from rootless_scratch.expressions import expression
from rootless_scratch.host.causes import cause_in
from rootless_scratch.troubles import trouble_in


class Refusal(Diagnosis):
    """What skopeo says; `passing` is what another attempt may not meet any more.

    `types` is what a manifest of other types may not meet, refused for the `reason`. `rule` is doctor's for what
    this host lacks.
    """

    passing: bool = False
    types: bool = False
    reason: str = ""
    rule: str = ""


_LOGIN = "Log in with `skopeo login {host}` or `podman login {host}`, or name a file of logins with --authfile."
_KNOWN = (
    Refusal(
        r"proxyconnect tcp: (.*)",
        "The proxy on the way to {host} cannot be used: {0}.",
        "Check HTTPS_PROXY, or name the host in NO_PROXY.",
        passing=True,
    ),
    Refusal(
        r"x509: certificate signed by unknown authority",
        "The certificate of {host} is signed by a certificate authority that this host does not trust.",
        "Put the authority's certificate into a directory, as a file NAME.crt, and name that with --cert-dir.",
    ),
    Refusal(
        r"x509: (.*)",
        "The certificate of {host} is not valid: {0}.",
        "Name the registry as its certificate does, or have the certificate renewed.",
    ),
    Refusal(
        r"server gave HTTP response to HTTPS client",
        "{host} speaks HTTP and not HTTPS.",
        "On a trusted network use `--tls-verify=false`.",
    ),
    Refusal(
        r"reading JSON file (\S+)",
        "The logins in {0} cannot be read.",
        "Log in again with `skopeo login {host}`, or name another file with --authfile.",
    ),
    Refusal(
        r"trust policy|policy\.json",
        "There is no readable policy.json, without which skopeo refuses to work.",
        """`echo '{{"default":[{{"type":"insecureAcceptAnything"}}]}}' > ~/.config/containers/policy.json`""",
    ),
    Refusal(
        # containers/image writes the index anew to compare it, without the fields of descriptors that it does not
        # know or forgets (github.com/containers/image/issues/2460).
        r"must be converted to type \\*\"application/vnd\.oci\.image\.index",
        "The skopeo of this host cannot send the index unchanged: it loses fields such as artifactType.",
        "Use a newer skopeo, or push an index without such entries.",
    ),
    Refusal(
        # It took the blob, and does not have it when the manifest names it: MANIFEST_BLOB_UNKNOWN.
        # docker's registry 2.8 may say so where two push the same at the same time.
        r"(?i)uploading manifest .*blob unknown",
        "{host} has lost a part of {name} that it was sent.",
        "Try again; where it happens each time, whoever runs the registry finds the cause in its storage.",
        passing=True,
    ),
    Refusal(
        # The codes of distribution-spec v1.1 (TAG_INVALID: docker's registry 2.5 and older), or none of them.
        r"(?i)uploading manifest \S+ to \S+: (?:StatusCode: \d+, [^\"]*?(?=unsupported media)|[\w ]*: (?=415))?"
        r"(manifest invalid|tag invalid|unsupported(?: media ?type)?|415)\b",
        "{host} rejects the manifest of {name}: {0}.",
        "Check that it stores images under this name; use -v to see all output of skopeo.",
        types=True,
        reason="{0}",
    ),
    Refusal(
        r"unknown flag: (\S+)",
        "The skopeo of this host is too old: it does not know {0}.",
        "Use skopeo 1.9 or later.",
    ),
    Refusal(
        r"unauthorized|authentication required|invalid username/password|401 \(?Unauthorized",
        "{host} requires a login for {name}, and got none that it accepts.",
        _LOGIN,
    ),
    Refusal(
        r"(?<!permission )denied|403 \(?Forbidden|StatusCode: 403",
        "{host} denies this login {use} access to {name}.",
        f"Check the name, or use a login that may: {_LOGIN[0].lower()}{_LOGIN[1:]}",
    ),
    Refusal(
        r"toomanyrequests|too many requests|\b429 |: 429\b",
        "{host} accepts no more requests for now.",
        "Try again later, or ask whoever runs the registry for a higher limit.",
        passing=True,
    ),
    Refusal(
        r"(?:status: |StatusCode: |status code from registry |status code |repository \S+: )(5\d\d\b[^\"\\<,]*)",
        "{host} failed: {0}.",
        "Try again later; whoever runs the registry finds the cause in its log.",
        passing=True,
    ),
    Refusal(
        r"no such host",
        "There is no host {host}.",
        "Check the name; `getent hosts NAME` says whether it is known here.",
    ),
    Refusal(
        r"connection refused",
        "Nothing answers at {host}: connection refused.",
        "Check the host and the port, and that the registry runs.",
        passing=True,
    ),
    Refusal(
        r"timeout|no route to host|network is unreachable|server misbehaving|emporary failure|deadline exceeded",
        "{host} cannot be reached: {last}.",
        "Check the network, and a proxy that HTTPS_PROXY names.",
        passing=True,
    ),
    Refusal(
        r"EOF|connection reset|broken pipe|closed network connection|connection lost|stream error",
        "The connection to {host} was closed.",
        "Try again; where it happens each time, a proxy before the registry may limit size or time.",
        passing=True,
    ),
    Refusal(
        r"name unknown|repository name not known",
        "{host} has no repository {name}.",
        "Create the repository or project there first, or check the name.",
    ),
    Refusal(
        r"(?:pinging container registry).*404",
        "{host} answers, but is not a registry.",
        "Check the host and the port.",
    ),
    Refusal(
        r"StatusCode: 413|Request Entity Too Large",
        "{host}, or a proxy before it, rejects layers of this size.",
        "Have its limit raised (nginx: client_max_body_size), or compress the layer.",
    ),
)

_OF_READING = (
    Refusal(
        r"manifest unknown|name unknown|repository name not known"
        r"|(?i:reading manifest \S+ in \S+: .*(404|not found))",
        "{host} has no image {name}.",
        "Check the name; `skopeo list-tags docker://HOST/NAME` lists the tags that are there.",
    ),
    Refusal(
        r"no image found in (?:manifest list|image index) for",
        "{name} has no image for this platform.",
        "Name one with --platform; `skopeo inspect --raw docker://HOST/NAME:TAG` lists them.",
    ),
)

_ASKED = expression(r"\b(?:Get|Head|Post|Put|Patch) \\*\"https?://([^/\"\\]+)[^\"]*\": ")
"""The host of a request that got no answer: net/http names it."""


def judge_refusal(stderr: str, *, name: str, is_reading: bool = False) -> Refusal:
    """Read what skopeo said when it could not copy to `name`, HOST/NAME:TAG, or from there with `is_reading`."""
    # A proxy's login may stand in it, and what is tried again is noted.
    cause = redacted(last_cause(stderr))
    lacking = cause_in(stderr)
    if lacking is not None:
        return Refusal(lacking.pattern, lacking.cause, lacking.fix, rule=lacking.rule)
    trouble = trouble_in(stderr)
    if trouble is not None:
        return Refusal(trouble.pattern, trouble.cause, trouble.fix)
    registry = name.partition("/")[0]
    match = _ASKED.search(cause)
    host = registry if match is None else match[1]
    last = cause.rpartition(": ")[2]
    table, use = ((*_OF_READING, *_KNOWN), "read") if is_reading else (_KNOWN, "write")
    known = diagnose(
        table, cause, tidy=lambda text: text.strip(' "\\:.'), host=host, name=name, last=last, use=use
    )
    if known is None:
        shown = f"{host} {'withholds' if is_reading else 'rejects'} the image: {cause or 'skopeo said nothing'}."
        return Refusal("", shown, "Use -v to see all output of skopeo.")
    return known if host == registry else _sent_on(known, registry, host)


def _sent_on(refusal: Refusal, registry: str, host: str) -> Refusal:
    """The registry has led skopeo to another host, and that is where it failed."""
    cause = refusal.cause if refusal.cause.startswith(host) else refusal.cause[0].lower() + refusal.cause[1:]
    return Refusal(
        refusal.pattern,
        f"{registry} redirects requests to {host}: {cause}",
        f"{refusal.fix} Whoever runs the registry can have it lead elsewhere.",
        refusal.passing,
        refusal.types,
        refusal.reason,
    )
