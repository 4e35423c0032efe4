"""Requests that are HTTP, nearly, or not at all: where two readers of one have come to disagree."""

from random import Random

_METHODS = [b"HEAD", b"OPTIONS", b"PUT", b"get", b"CONNECT", b"G\x00T", b"PRI", b""]
_TARGETS = [
    b"/v1/predict", b"/v1/explain", b"/v2/models/mnist-3v5/infer", b"/v2/health/live", b"/metrics",
    b"/nothing", b"/v1/models/%00", b"/v1/models?a=%ff&a", b"http://localhost/v1/models", b"*", b"/\x00", b"",
    b"//", b"/v1/models#part", b"/\xc3\xa9", b"/" + b"a" * 2000, b"/v1/mod els",
]  # fmt: skip
_VERSIONS = [
    b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b" HTTP/0.9", b" http/1.1", b"  HTTP/1.1", b" HTTP/1.1 ",
    b" HTTP/11", b"",
]  # fmt: skip
_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r\n"]
_NUMBERS = [
    b"0", b"2", b"5", b"05", b"+5", b"-5", b"5 ", b" 5", b"5, 5", b"5,6", b"0x5", b"5.0", b"", b"\xb2",
    b"5\x00", b"18446744073709551616", b"9223372036854775808", b"9" * 30, b"1" * 5000,
]  # fmt: skip
_CODINGS = [
    b"Chunked", b"chunked, chunked", b"identity", b"gzip, chunked", b"chunked, gzip", b"xchunked",
    b"\x0bchunked", b"chunked\x00", b'"chunked"', b"", b"chunked\r\nTransfer-Encoding: identity",
]  # fmt: skip
_HEADERS = [
    b"X: folded\r\n continued", b"X : space before", b" X: space", b"X", b": no name", b"X: \x00", b"X: a\rb",
    b"X: a\nY: b", b"X: \xff\xfe", b"X\x7f: a", b"(X): a", b"X:" + b"a" * 6000, b"Connection: close",
    b"Connection: keep-alive", b"Connection: upgrade", b"Connection: close, keep-alive", b"Upgrade: h2c",
    b"Upgrade: websocket", b"Expect: 100-continue", b"Expect: 200-maybe", b"Host: elsewhere", b"Host:",
    b"X-Request-ID: \x7f", b"X-Request-ID: a\r\nX-Request-ID: b", b"Content-Encoding: gzip", b"TE: trailers",
    b"Content-Type: application/json", b"Content-Type: image/png", b"X-Request-Timeout-Ms: " + b"9" * 5000,
    b"Inference-Header-Content-Length: 99999999999999999999", b"Origin: http://elsewhere", b"Trailer: X",
    b"\r\n".join([b"X: %d" % number for number in range(150)]), b"Cookie: " + b"a=b; " * 500,
]  # fmt: skip
_BODY = b'{"images": [[[0.5]]]}'


class _Writer:
    """Writes requests, each part strange as often as said, else as it should be."""

    def __init__(self, random: Random, strangeness: float) -> None:
        self._random, self._strangeness = random, strangeness

    def _or(self, right: bytes, *strange: bytes) -> bytes:
        return self._random.choice(strange) if self._random.random() < self._strangeness else right

    def request(self) -> bytes:
        """Returns a head and a body."""
        method, target = (
            self._or(self._random.choice((b"GET", b"POST")), *_METHODS),
            self._or(b"/v1/models", *_TARGETS),
        )
        headers = [b"Host: localhost"]
        while self._random.random() < self._strangeness:
            headers.append(self._random.choice(_HEADERS))
        framing, body = self._body()
        headers += framing
        self._random.shuffle(headers)
        end = self._or(b"\r\n", *_ENDS)
        line = method + b" " + target + self._or(b" HTTP/1.1", *_VERSIONS)
        return end.join([line, *headers]) + end + self._or(b"\r\n", end) + body

    def _body(self) -> tuple[list[bytes], bytes]:
        """Returns the headers that say how long a body is, right or wrong, and the body."""
        length = b"Content-Length: " + self._or(b"%d" % len(_BODY), *_NUMBERS)
        coding = self._or(b"Transfer-Encoding: ", b"Transfer-Encoding:", b"Transfer-Encoding : ")
        coding += self._or(b"chunked", *_CODINGS)
        if self._random.random() < self._strangeness:
            return self._random.choice(
                (
                    ([], _BODY),
                    ([length, length], _BODY),
                    ([coding, length], self._chunks()),
                    ([length, coding], _BODY),
                )
            )
        return self._random.choice((([], b""), ([length], _BODY), ([coding], self._chunks())))

    def _chunks(self) -> bytes:
        sent = b""
        for _ in range(self._random.randrange(3)):
            size = self._or(b"5", b"5;a=b", b"5 ;a", b"0" * 20 + b"5", b"g", *_NUMBERS)
            sent += size + self._or(b"\r\n", *_ENDS) + b"hello" + self._or(b"\r\n", *_ENDS)
        last = self._or(b"0\r\n", b"00\r\n", b"0\n", b"0;a\r\n", b"")
        trailer = self._or(b"", b"X: 1\r\n", b"Content-Length: 9\r\n", b" folded\r\n", b"\x00\r\n")
        return sent + last + trailer + b"\r\n"


def stream_of(random: Random) -> bytes:
    """Returns what one client sends on one connection: a request or several, some of them spoilt."""
    writer = _Writer(random, random.choice((0.0, 0.05, 0.1, 0.2, 0.4)))
    sent = b"".join(writer.request() for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))))
    return spoilt(random, sent) if random.random() < 0.2 else sent


def spoilt(random: Random, sent: bytes) -> bytes:
    """Returns it with a few bytes changed, left out, doubled or put in."""
    changed = bytearray(sent)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(changed) + 1)
        new = random.choice((b"\r", b"\n", b"\x00", b" ", b":", changed[at : at + 8], random.randbytes(1)))
        changed[at : at + random.randint(0, 2)] = new
    return bytes(changed)
