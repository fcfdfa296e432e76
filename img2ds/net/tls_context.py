"""TLS contexts: whom to trust."""

from __future__ import annotations

import os
import ssl

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import UsageError


def open_context(options: NetworkOptions) -> ssl.SSLContext:
    """Return a TLS context. Share it: making one costs as much as a hundred handshakes.

    Trust comes from `ca_bundle`, else from SSL_CERT_FILE, SSL_CERT_DIR and the system's store,
    else, on a system without one, from certifi.

    Raises:
        UsageError: `ca_bundle` is not a PEM file of certificates.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_bundle)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"--ca_bundle {options.ca_bundle}: not PEM certificates ({error})"
        ) from None
    paths = ssl.get_default_verify_paths()
    if options.ca_bundle is None and not (paths.cafile or paths.capath):
        import certifi

        context.load_verify_locations(certifi.where())
    if options.ignore_ssl_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.hostname_checks_common_name = False  # as in browsers (RFC 9525 6.3)
    context.set_alpn_protocols(["http/1.1"])
    if keylog := os.environ.get("SSLKEYLOGFILE"):
        context.keylog_filename = keylog
    return context
