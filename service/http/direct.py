"""Predictions for lists of numbers, with nothing between their bytes and the batcher.

What `/v1/predict` does is in service/api/predict.py; a request that comes here gets the same answer from
the same parts. Whatever is not plainly right is not answered here: it goes the usual way, which alone says
what is wrong with it (docs/decisions/0012).
"""

import logging
import time
from collections.abc import Callable

import orjson

from service.api.state import Service
from service.codecs.json_images import images_alone
from service.codecs.serialization import labelled, model_ref
from service.http.admission import Reception
from service.http.context import REQUEST_ID, Call, current_request_id
from service.http.middleware import CLIENT_LEFT
from service.http.problems import SEE_LOG, InternalError, Problem, answer_to
from service.inference.batcher import Answer, Waiting
from service.inference.engine import Engine

_LOGGER = logging.getLogger("service")
_JSON = (b"content-type", b"application/json")

Headers = list[tuple[bytes, bytes]]
# Sends a status, headers but for the length, and a body.
Reply = Callable[[int, Headers, bytes], None]


class DirectPredictions:
    """Begins exchanges.

    Attributes:
        path: The route whose requests may come here.
        most_requests: Requests that may be in progress in this process.
        in_progress: Exchanges that have begun and not ended.
    """

    path = "/v1/predict"

    def __init__(self, service: Service, reception: Reception) -> None:
        self._service, self.reception = service, reception
        self._seconds = service.settings.request_timeout_ms / 1000
        self.most_requests = reception.most_requests
        self.in_progress = 0

    def begin(self, headers: Headers, body: bytes, reply: Reply, started: float) -> "Exchange | None":
        """Begins to answer a whole POST of JSON, or leaves it to the usual way: None.

        Args:
            headers: Names in lower case.
            body: All of it.
            reply: Gets the answer, unless the client leaves before.
            started: When the first of its bytes came, `time.perf_counter()`.
        """
        call = Call(headers, started)
        call.mark("read")
        if not self.reception.keyring.knows(call.key):
            return None
        images = images_alone(body, self._service.settings.max_images)
        if images is None:
            return None
        call.mark("parse")
        exchange = Exchange(self, call, reply)
        try:
            waited = time.perf_counter() - started
            deadline = time.monotonic() - waited + call.seconds(self._seconds)
            self.reception.admit(self.path, call)
            model = self._service.models.get()
            exchange.waiting = model.batcher.submit(images, deadline, exchange.take)
            exchange.engine = model.engine
        except Exception as error:
            exchange.take(error)
        return exchange


class Exchange:
    """One request whose answer is due."""

    __slots__ = ("_call", "_direct", "_reply", "answered", "engine", "waiting")

    def __init__(self, direct: DirectPredictions, call: Call, reply: Reply) -> None:
        self._direct, self._call, self._reply = direct, call, reply
        self.answered = False
        self.waiting: Waiting | None = None
        self.engine: Engine | None = None
        call.route = direct.path
        direct.in_progress += 1
        direct.reception.enter()

    def take(self, found: Answer | Exception) -> None:
        """Answers with what was found, or with what went wrong; never raises."""
        try:
            status, headers, body = 200, [_JSON], self._body(found)
        except Exception as error:
            status, headers, body = self._problem(error)
        self._reply(status, [*headers, (REQUEST_ID, self._call.request_id)], body)
        self._book(status)

    def _body(self, found: Answer | Exception) -> bytes:
        if isinstance(found, Exception):
            raise found
        assert self.engine is not None
        self._call.mark("infer")
        predictions = labelled(self.engine, *found)
        body = orjson.dumps({"model": model_ref(self.engine), "predictions": predictions})
        self._call.mark("answer")
        return body

    def leave(self) -> None:
        """Ends it without an answer: the client is gone."""
        if self.waiting is not None:
            self.waiting.leave()
        if not self.answered:
            self._book(CLIENT_LEFT)

    def _problem(self, error: Exception) -> tuple[int, Headers, bytes]:
        problem = error if isinstance(error, Problem) else InternalError(SEE_LOG)
        if problem is not error:
            current_request_id.set(self._call.request_id.decode())
            _LOGGER.error("unexpected error in %s", self._direct.path, exc_info=error)
        response = answer_to(problem, self._direct.path)
        headers = [each for each in response.raw_headers if each[0] != b"content-length"]
        return response.status_code, headers, bytes(response.body)

    def _book(self, status: int) -> None:
        self.answered = True
        self._direct.in_progress -= 1
        self._direct.reception.book("POST", self._direct.path, self._call, status)
