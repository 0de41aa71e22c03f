#!/usr/bin/env python3
"""Fetches ranges over HTTP/3 with aioquic, all of them at once on one connection.

usage: h3_range.py '{"url": "https://localhost:8443/a/..", "ca": "ca.pem", "ranges": [[0, 99], null]}'

Optional keys: "address" (connect there instead of to the host of the URL), "headers" (an object). GET only: aioquic holds
the Content-Length of an answer to HEAD against its empty body. A range is [first, last], a Range header's text, or null for none.
Prints one line: {"ok": true, "answers": [{"range", "status", "length", "sha256", "http_version", "headers"}, ..]} in the order
asked, or {"ok": false, "error": ".."} and exit code 1. Ends within DEADLINE_SECS and keeps at most BODY_MAX bytes of a body.
"""

import asyncio
import hashlib
import json
import sys
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

DEADLINE_SECS = 30
IDLE_SECS = 10
BODY_MAX = 256 * 1024 * 1024


class Reply:
    """One answer on its way."""

    def __init__(self, done):
        self.done = done
        self.status = None
        self.headers = {}
        self.length = 0
        self.hash = hashlib.sha256()

    def take(self, event):
        if isinstance(event, HeadersReceived):
            fields = [(name.decode(), value.decode()) for name, value in event.headers]
            self.status = self.status or int(dict(fields).get(":status", 0))
            self.headers.update((name, value) for name, value in fields if not name.startswith(":"))
        elif isinstance(event, DataReceived):
            self.length += len(event.data)
            self.hash.update(event.data)
        if self.length > BODY_MAX:
            self.fail(f"a body of more than {BODY_MAX} bytes")
        elif event.stream_ended and not self.done.done():
            self.done.set_result(None)

    def fail(self, why):
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


class Client(QuicConnectionProtocol):
    """An HTTP/3 connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.replies = {}
        self.closed = "no answer"

    async def ask(self, headers):
        stream = self._quic.get_next_available_stream_id()
        reply = Reply(asyncio.get_running_loop().create_future())
        self.replies[stream] = reply
        self.http.send_headers(stream, headers, end_stream=True)
        self.transmit()
        await reply.done
        return reply

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.closed = f"connection closed: code {event.error_code} {event.reason_phrase}"
            for reply in self.replies.values():
                reply.fail(self.closed)
        elif isinstance(event, StreamReset) and event.stream_id in self.replies:
            self.replies[event.stream_id].fail(f"stream reset: code {event.error_code:#x}")
        for http_event in self.http.handle_event(event):
            reply = self.replies.get(getattr(http_event, "stream_id", None))
            if reply is not None and isinstance(http_event, (HeadersReceived, DataReceived)):
                reply.take(http_event)


def request_headers(url, wish, asked):
    target = url.path + (f"?{url.query}" if url.query else "")
    fields = {":method": "GET", ":scheme": "https", ":authority": url.netloc, ":path": target}
    fields.update({name.lower(): value for name, value in wish.get("headers", {}).items()})
    if asked is not None:
        fields["range"] = range_text(asked)
    return [(name.encode(), value.encode()) for name, value in fields.items()]


def range_text(asked):
    return asked if isinstance(asked, str) else "bytes={}-{}".format(*asked)


def result(asked, reply):
    return {
        "range": asked,
        "status": reply.status,
        "length": reply.length,
        "sha256": reply.hash.hexdigest(),
        "http_version": "3",
        "headers": reply.headers,
    }


async def fetch(wish):
    url = urlsplit(wish["url"])
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=url.hostname, idle_timeout=IDLE_SECS)
    with open(wish["ca"], "rb") as authority:
        configuration.load_verify_locations(cadata=authority.read())
    host = wish.get("address", url.hostname)
    asked = wish["ranges"]
    made = []

    def create(*args, **kwargs):
        made.append(Client(*args, **kwargs))
        return made[-1]

    try:
        async with connect(host, url.port or 443, configuration=configuration, create_protocol=create) as client:
            replies = await asyncio.gather(*(client.ask(request_headers(url, wish, one)) for one in asked))
    except ConnectionError as error:
        raise RuntimeError(made[-1].closed if made else str(error)) from error
    return [result(one, reply) for one, reply in zip(asked, replies)]


def main():
    try:
        wish = json.loads(sys.argv[1])
        answers = asyncio.run(asyncio.wait_for(fetch(wish), DEADLINE_SECS))
    except TimeoutError:
        answer, code = {"ok": False, "error": f"no answer within {DEADLINE_SECS} s"}, 1
    except Exception as error:  # whatever it is, the caller gets its one line
        answer, code = {"ok": False, "error": f"{type(error).__name__}: {error}"}, 1
    else:
        answer, code = {"ok": True, "answers": answers}, 0
    print(json.dumps(answer))
    return code


if __name__ == "__main__":
    sys.exit(main())
