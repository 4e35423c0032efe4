"""A model behind a running service answers: `--url`."""

import base64

import httpx
import numpy as np

from model.package import Label
from service.codecs.serialization import JSONObject
from whitebox.asking.answer import Answer, AskedAttack, Pixels, known_label
from whitebox.asking.local_model import JSON_PARTS, PICTURE_PARTS

# The service ends what takes too long, attacks after a minute unless it is told otherwise.
_TIMEOUT = httpx.Timeout(10, read=600)


class ServiceError(Exception):
    """The service refused, or there is none; the message is one line."""


class RemoteModel:
    """Answers with the model of a service.

    Args:
        url: Of the service.
        model: Its name there; None for the service's default.
        api_key: What the service may ask for.

    Raises:
        ServiceError: The URL is none.
    """

    def __init__(self, url: str, model: str | None, api_key: str | None) -> None:
        self._url, self._model = url, model
        headers = {} if api_key is None else {"X-API-Key": api_key}
        try:
            parsed = httpx.URL(url)
            usable = parsed.scheme in ("http", "https") and bool(parsed.host)
        except httpx.InvalidURL:
            usable = False
        if not usable:
            raise ServiceError(f"{url!r} is no address of a service: --url http://HOST:PORT")
        self._client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT)

    def predict(self, file: bytes, picture: bool) -> Answer:
        """Says what an image shows."""
        wanted = {"debug": "preprocessing"} if picture else {}
        answer = self._ask("predict", file, **wanted)
        return Answer(_only(answer, "predictions"), answer)

    def seen(self, file: bytes) -> Pixels:
        """Returns what the network sees of an image file; attacks and certificates do not tell it."""
        return np.array(self.predict(file, picture=True).item["image"], np.float32)

    def explain(self, file: bytes, picture: bool) -> Answer:
        """Says why."""
        answer = self._ask("explain", file, include=list(PICTURE_PARTS if picture else JSON_PARTS))
        return Answer(_only(answer, "explanations"), answer)

    def figure(self, file: bytes) -> str:
        """Returns the composed figure of the explanation."""
        return self._send("POST", "/v1/explain", self._body(file, format="figure")).text

    def attack(self, file: bytes, label: str | None, wanted: AskedAttack) -> Answer:
        """Attacks an image."""
        labels = self._labels(label)
        answer = self._ask("attack", file, **wanted._asdict(), **labels)
        return Answer(_only(answer, "results"), answer)

    def epsilon(self) -> float:
        """Returns the radius of the L-inf ball that the served model is judged at, by its manifest."""
        from training.data import epsilon_of

        name = self._model or self._json("GET", "/v1/models")["default"]
        return epsilon_of(self._json("GET", f"/v1/models/{name}")["manifest"].get("training") or {})

    def certify(self, file: bytes, label: str | None, epsilon: float) -> Answer:
        """Certifies an image."""
        answer = self._ask("certify", file, epsilon=epsilon, **self._labels(label))
        return Answer(_only(answer, "results"), answer)

    def _labels(self, label: str | None) -> dict[str, list[Label]]:
        """Returns the field `labels`, the label as the served model has it."""
        if label is None:
            return {}
        served = self._json("GET", "/v1/models")
        name = self._model or served["default"]
        known = [each["labels"] for each in served["models"] if each["name"] == name]
        return {"labels": [known_label(label, known[-1])]} if known else {"labels": [label]}

    def _ask(self, call: str, file: bytes, **fields: object) -> JSONObject:
        return self._json("POST", f"/v1/{call}", self._body(file, **fields))

    def _body(self, file: bytes, **fields: object) -> JSONObject:
        model = {} if self._model is None else {"model": self._model}
        return {"images": [{"image": base64.b64encode(file).decode()}], **model, **fields}

    def _json(self, method: str, path: str, body: JSONObject | None = None) -> JSONObject:
        response = self._send(method, path, body)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._stranger(response)
        return found

    def _send(self, method: str, path: str, body: JSONObject | None = None) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.ConnectError as error:
            raise ServiceError(
                f"Nothing answers at {self._url} ({error}). Start a service with `whitebox serve`, or leave "
                "--url out to ask a model here."
            ) from error
        except httpx.TimeoutException as error:
            raise ServiceError(f"{self._url} did not answer in time; is it busy?") from error
        except httpx.TransportError as error:
            raise ServiceError(f"{self._url} did not answer as HTTP does: {error}") from error
        if response.is_success:
            return response
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> ServiceError:
        """Returns the problem of a response in one line."""
        try:
            return ServiceError(str(response.json()["detail"]).replace("\n", " "))
        except (ValueError, KeyError, TypeError):
            return self._stranger(response)

    def _stranger(self, response: httpx.Response) -> ServiceError:
        told = f"{response.url} answers {response.status_code}"
        return ServiceError(f"{told}, and not as a service of ours does: is the --url right?")


def _only(answer: JSONObject, name: str) -> JSONObject:
    """Returns the one item of an answer."""
    (item,) = answer[name]
    found: JSONObject = item
    return found
