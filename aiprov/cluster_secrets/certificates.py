"""Keys and certificates as kubeadm makes its own, so that it takes them for its own.

What an authority looks like: RSA 2048 (``rsaKeySize`` of kubeadm's pkiutil, and its default
``encryptionAlgorithm`` RSA-2048); subject with a common name only, which is the DNS name in the
SAN too; critical key usage digital signature, key encipherment and certificate sign; critical
basic constraints CA without a path length; valid from five minutes ago (clocks differ) for ten
years of 365 days; a positive random serial number of 63 bits; a subject key identifier, which Go
adds to every authority's certificate.
What a client certificate looks like: key usage digital signature and key encipherment, extended
key usage client authentication, CA false; user as common name, each group as an organization.

Source: kubernetes/kubernetes cmd/kubeadm/app/util/pkiutil/pki_helpers.go, cmd/kubeadm/app/phases/
certs/certs.go and client-go util/cert/cert.go; kubernetes.io "PKI certificates and requirements".
Read on 2026-11-21.
"""

from __future__ import annotations

import base64
import hashlib
import secrets as random
import string
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiprov.cluster_secrets.model import AUTHORITIES, CertificateAndKey, ClusterSecrets, KeyPair
from aiprov.errors import UsageError
from aiprov.resources import Secret

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

RSA_BITS = 2048
BACKDATED = timedelta(minutes=5)
YEAR = timedelta(days=365)
TOKEN_LETTERS = string.ascii_lowercase + string.digits
BOOTSTRAP_USER = "system:bootstrap:aiprov"
BOOTSTRAP_GROUPS = (
    "system:bootstrappers",
    "system:bootstrappers:kubeadm:default-node-token",
)
LONGEST_COMMON_NAME = 64  # RFC 5280, ub-common-name; cryptography counts the bytes of UTF-8


def make(now: datetime, *, years: int = 10) -> ClusterSecrets:
    """New secrets for one cluster, whose authorities are valid for ``years`` of 365 days.

    ``now`` has a time zone. Raises ``UsageError`` when ``years`` is not at least 1.
    """
    if years < 1:
        raise UsageError(f"an authority valid for {years} years", hint="give 1 or more")
    now = now.astimezone(UTC).replace(microsecond=0)
    made = {field: _authority(name, now, years * YEAR) for field, name in AUTHORITIES.items()}
    return ClusterSecrets(
        ca=made["ca"],
        front_proxy_ca=made["front_proxy_ca"],
        etcd_ca=made["etcd_ca"],
        service_account=_key_pair(),
        bootstrap_token=_bootstrap_token(),
        encryption_key=Secret(base64.b64encode(random.token_bytes(32)).decode()),
        created=now,
    )


def ca_hash(secrets: ClusterSecrets) -> str:
    """``sha256:`` and the hash of the CA's public key: what a joining node knows the cluster by.

    For ``kubeadm join --discovery-token-ca-cert-hash`` and ``caCertHashes``.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = _public_key(_certificate(secrets.ca))
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def client_certificate(
    secrets: ClusterSecrets, user: str, groups: Sequence[str], now: datetime, days: int
) -> CertificateAndKey:
    """A certificate with which ``user`` of ``groups`` is known to the API server, for ``days``.

    It cannot be revoked: keep it short. Raises ``UsageError`` for a name that no certificate can
    hold, and for a time that is none or longer than the CA's own.
    """
    now = now.astimezone(UTC).replace(microsecond=0)
    last = _last_moment(_certificate(secrets.ca), now, days)
    return _client(secrets, user, groups, (now, last), _rsa_key())


def bootstrap_certificate(secrets: ClusterSecrets, now: datetime, hours: int) -> CertificateAndKey:
    """A certificate with which a node asks to be let in, for ``hours``; of a P-256 key.

    It has the rights of kubeadm's bootstrap tokens and no others: its user is one of a token's
    names, and its group is the one that kubeadm binds them to. So no token has to live in the
    cluster. Raises ``UsageError`` for a time that is none or longer than the CA's own.
    Source: kubernetes/kubernetes, NodeBootstrapTokenAuthGroup in
    cmd/kubeadm/app/constants/constants.go and plugin/pkg/auth/authenticator/token/bootstrap; read
    on 2026-11-21.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    now = now.astimezone(UTC).replace(microsecond=0)
    end = _certificate(secrets.ca).not_valid_after_utc
    last = now + timedelta(hours=hours)
    if hours < 1 or last > end:
        raise UsageError(
            f"a certificate for {hours} hours outlives the cluster's CA, or is for no time",
            hint=f"the CA is valid until {end:%Y-%m-%d %H:%M} UTC",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    return _client(secrets, BOOTSTRAP_USER, BOOTSTRAP_GROUPS, (now, last), key)


def _client(
    secrets: ClusterSecrets,
    user: str,
    groups: Sequence[str],
    valid: tuple[datetime, datetime],
    key: PrivateKey,
) -> CertificateAndKey:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    first, last = valid
    issuer = _certificate(secrets.ca)
    _refuse_names(user, groups)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    certificate = (
        _builder(key, last)
        .not_valid_before(max(first - BACKDATED, issuer.not_valid_before_utc))
        .subject_name(x509.Name(names))
        .issuer_name(issuer.subject)
        .add_extension(_key_usage(signs=False, of=key), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(issuer)), critical=False
        )
    )
    return _signed(certificate, key, _private_key(secrets.ca.key))


def validity(authority: CertificateAndKey) -> tuple[datetime, datetime]:
    """The first and the last moment (UTC) at which the certificate is valid."""
    certificate = _certificate(authority)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def faults(secrets: ClusterSecrets) -> Iterator[str]:
    """What does not belong together in secrets that were read from a file. Shows no value."""
    from cryptography import x509

    for name, authority in secrets.authorities.items():
        try:
            certificate = _certificate(authority)
            same = _public_key(certificate) == _private_key(authority.key).public_key()
            limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        except ValueError:
            yield f"{name} is not a certificate and its RSA key"
        except x509.ExtensionNotFound:
            yield f"{name} is not an authority's certificate"
        else:
            if not limits.value.ca:
                yield f"{name} is not an authority's certificate"
            if not same:
                yield f"{name}: the key does not belong to the certificate"
    try:
        pair = _pair_of(_private_key(secrets.service_account.private))
    except ValueError:
        yield "service_account is not an RSA key pair"
    else:
        if pair.public != secrets.service_account.public:
            yield "service_account: the public key does not belong to the private one"


# ---------------------------------------------------------------- keys


def _rsa_key() -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _pem(key: PrivateKey) -> Secret:
    """PKCS #1 or SEC 1 ("RSA PRIVATE KEY"), the form in which kubeadm writes its own."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return Secret(text.decode())


def _private_key(secret: Secret) -> RSAPrivateKey:
    """Raises ``ValueError`` when it is no RSA key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(secret.reveal().encode(), password=None)
    except (TypeError, UnsupportedAlgorithm) as error:  # encrypted, or of a kind long gone
        raise ValueError("not a plain private key") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key


def _pair_of(key: RSAPrivateKey) -> KeyPair:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(public=public.decode(), private=_pem(key))


def _key_pair() -> KeyPair:
    return _pair_of(_rsa_key())


def _bootstrap_token() -> Secret:
    letters = [random.choice(TOKEN_LETTERS) for _ in range(22)]
    return Secret(f"{''.join(letters[:6])}.{''.join(letters[6:])}")


# ---------------------------------------------------------------- certificates


def _certificate(pair: CertificateAndKey) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pair.certificate.encode())


def _public_key(certificate: x509.Certificate) -> RSAPublicKey:
    """Raises ``ValueError`` when it is no RSA key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError("not an RSA key") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")
    return key


def _authority(name: str, now: datetime, valid: timedelta) -> CertificateAndKey:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    key = _rsa_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(key, now + valid)
        .not_valid_before(now - BACKDATED)
        .subject_name(subject)
        .issuer_name(subject)
        .add_extension(_key_usage(signs=True, of=key), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return _signed(certificate, key, key)


def _builder(key: PrivateKey, last: datetime) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .public_key(key.public_key())
        .serial_number(1 + random.randbelow(2**63 - 2))
        .not_valid_after(last)
    )


def _signed(
    builder: x509.CertificateBuilder, key: PrivateKey, by: RSAPrivateKey
) -> CertificateAndKey:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = builder.sign(by, SHA256())
    return CertificateAndKey(
        certificate=certificate.public_bytes(Encoding.PEM).decode(), key=_pem(key)
    )


def _key_usage(*, signs: bool, of: PrivateKey) -> x509.KeyUsage:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(of, RSAPrivateKey),  # RFC 5480: not with a curve's key
        key_cert_sign=signs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _last_moment(issuer: x509.Certificate, now: datetime, days: int) -> datetime:
    if days < 1:
        raise UsageError(f"a certificate for {days} days", hint="give 1 or more")
    end = issuer.not_valid_after_utc
    if days > (end - now).days:
        raise UsageError(
            f"a certificate for {days} days outlives the cluster's CA",
            hint=f"the CA is valid until {end:%Y-%m-%d}: give {max((end - now).days, 0)} or less",
        )
    return now + timedelta(days=days)


def _refuse_names(user: str, groups: Sequence[str]) -> None:
    if not user or len(user.encode()) > LONGEST_COMMON_NAME:
        raise UsageError(
            f"{user!r} cannot be a user's name in a certificate",
            hint=f"a common name has 1 to {LONGEST_COMMON_NAME} bytes in UTF-8",
        )
    for group in groups:
        if not group:
            raise UsageError("a group without a name", hint="leave it out")
