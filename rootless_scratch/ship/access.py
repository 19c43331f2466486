"""How registries are spoken to: each option defined once, for the command line and for Python."""

from __future__ import annotations

import os

from rootless_scratch.errors import UsageError
from rootless_scratch.image.kinds import FILE, FLAG, INTEGER, TEXT, Table, option

_BOOL = FLAG.but(python="bool | None", type=bool, default=None)
_COUNT = INTEGER.but(default=3)
AUTO, OCI, DOCKER = FORMATS = ("auto", "oci", "docker")
_FORMAT = TEXT.but(python="str", default=AUTO)


class Access(Table):
    """A file of logins, whether TLS must be, a directory of certificates, and how often it is tried again.

    There is no password here: skopeo would show it in ps(1). `format` is oci (manifests go as they are), docker
    (with the media types of its schema 2), or auto: docker where the registry refuses the first.
    """

    authfile: str | None = option(
        "--authfile FILE", FILE, "Registry credentials [default: REGISTRY_AUTH_FILE, else podman's]."
    )
    tls_verify: bool | None = option(
        "--tls-verify BOOL", _BOOL, "Require TLS [default: as registries.conf says, else true]."
    )
    cert_dir: str | None = option("--cert-dir DIR", FILE, "Also trust the certificate authorities in DIR/*.crt.")
    retries: int = option("--retries N", _COUNT, "Retry transient failures N times [default: 3].")
    format: str = option(
        "--format NAME", _FORMAT, "Manifest: oci, docker, or auto, docker where oci is refused [default: auto]."
    )

    def check(self) -> None:
        """Raise UsageError for what skopeo would pass over in silence."""
        if self.authfile is not None and not os.access(self.authfile, os.R_OK):
            raise UsageError(
                f"The file of logins {self.authfile!r} cannot be read.",
                fix="Make it with `skopeo login --authfile FILE HOST`.",
            )
        if self.cert_dir is not None and not os.path.isdir(self.cert_dir):
            raise UsageError(
                f"There is no directory {self.cert_dir!r}.", fix="Name one that holds certificates, as NAME.crt."
            )
        if self.retries < 0:
            raise UsageError(f"{self.retries} is not a number of retries.", fix="Write 0 for none.")
        if self.format not in FORMATS:
            raise UsageError(f"There is no format {self.format!r}.", fix=f"Use one of {', '.join(FORMATS)}.")

    def flags(self, *, prefix: str) -> tuple[str, ...]:
        """Arguments for skopeo, which works elsewhere: with the `prefix` src- or dest- for `copy`."""
        # Without it registries.conf decides, as for the user's other tools.
        verify = () if self.tls_verify is None else (f"--{prefix}tls-verify={str(self.tls_verify).lower()}",)
        authfile = () if self.authfile is None else (f"--{prefix}authfile", os.path.abspath(self.authfile))
        certificates = () if self.cert_dir is None else (f"--{prefix}cert-dir", os.path.abspath(self.cert_dir))
        return (*verify, *authfile, *certificates)
