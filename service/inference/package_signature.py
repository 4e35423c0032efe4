"""Signatures of packages: digests tell damage, a signature tells who made it (OpenSSF model signing).

The signature of NAME/VERSION/ is NAME/VERSION.sig, written by the library's own command:

    model_signing sign key NAME/VERSION --signature NAME/VERSION.sig --private_key private.pem
"""

from pathlib import Path

from model_signing.verifying import Config

from model.package import PackageError
from model.package_directory import signature_file


def verify_signature(directory: Path, public_key: Path) -> None:
    """Checks that the owner of a key signed exactly the files of a package.

    Args:
        directory: The package.
        public_key: PEM file of an elliptic-curve key.

    Raises:
        PackageError: There is no signature, or it is not for these files by this key.
    """
    signature = signature_file(directory)
    if not signature.is_file():
        raise PackageError(f"{directory} is not signed: there is no {signature.name} beside it.")
    try:
        configured = Config()  # type: ignore[no-untyped-call]
        configured.use_elliptic_key_verifier(public_key=public_key).verify(directory, signature)
    except Exception as error:  # the library raises what its parsers and ciphers raise
        told = str(error) or type(error).__name__
        raise PackageError(f"{directory} is not what {signature.name} signs: {told}") from error
