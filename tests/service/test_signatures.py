"""With WHITEBOX_PACKAGE_PUBLIC_KEY, only packages that the owner of that key signed are served."""

import os
import subprocess
import time

import hostile_packages as hostile
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing.signing import Config
from running import WHITEBOX, running_server

MODEL = "mnist-3v5"


def _key(path):
    """Writes a new private key beside its public one; returns both paths."""
    private = ec.generate_private_key(ec.SECP256R1())
    path.with_suffix(".pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.with_suffix(".pub").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path.with_suffix(".pem"), path.with_suffix(".pub")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return _key(tmp_path_factory.mktemp("keys") / "ours")


@pytest.fixture(scope="module")
def models(tmp_path_factory, keys):
    """The default model, signed; a model without signature; one that was changed after it was signed."""
    models = tmp_path_factory.mktemp("models")
    stranger, _ = _key(tmp_path_factory.mktemp("other-keys") / "theirs")
    for name, key in ((MODEL, keys[0]), ("unsigned", None), ("changed", keys[0]), ("foreign", stranger)):
        hostile.put(models, name, hostile.nothing)
        if key is not None:
            _sign(models / name / "1", key)
    hostile.file("network.pt2", b"another program")(models / "changed" / "1")
    return models


@pytest.fixture(scope="module")
def client(models, keys):
    with running_server(
        WHITEBOX_MODELS_DIR=str(models),
        WHITEBOX_DEFAULT_MODEL=MODEL,
        WHITEBOX_PACKAGE_PUBLIC_KEY=str(keys[1]),
        WHITEBOX_ATTACK_WORKERS="0",
        WHITEBOX_CERTIFY_WORKERS="0",
        WHITEBOX_MODELS_POLL_SECONDS="0.1",
    ) as (client, _):
        yield client


def _sign(package, private_key):
    Config().use_elliptic_key_signer(private_key=private_key).sign(package, package.with_name("1.sig"))


def _reason(client, name):
    return {each["name"]: each["reason"] for each in client.post("/v2/repository/index").json()}[name]


def test_a_signed_model_answers(client, three):
    answer = client.post("/v1/predict", json={"images": [three]})
    assert answer.json()["predictions"][0]["label"] == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unsigned", "is not signed: there is no 1.sig beside it"),
        ("changed", "is not what 1.sig signs: Signature mismatch"),
        ("foreign", "is not what 1.sig signs"),
    ],
)
def test_a_package_that_the_key_did_not_sign_is_refused_with_the_reason(client, three, name, reason):
    assert client.post("/v1/predict", json={"images": [three], "model": name}).status_code == 404
    assert reason in _reason(client, name)


def test_a_package_is_loaded_once_its_signature_is_there(client, models, keys, three):
    hostile.put(models, "later", hostile.nothing)
    _sign(models / "later" / "1", keys[0])
    deadline = time.monotonic() + 60
    while _reason(client, "later") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.post("/v1/predict", json={"images": [three], "model": "later"}).status_code == 200


def test_a_key_that_is_not_there_is_told_before_the_start(tmp_path):
    missing = tmp_path / "public.pem"
    run = subprocess.run(
        [WHITEBOX, "serve", "--check"],
        check=False,
        env={**os.environ, "WHITEBOX_PACKAGE_PUBLIC_KEY": str(missing)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1
    assert f"{missing} (WHITEBOX_PACKAGE_PUBLIC_KEY) is no file." in run.stderr
