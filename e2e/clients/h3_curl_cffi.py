#!/usr/bin/env python3
"""Fetches ranges over HTTP/3 with libcurl (curl_cffi), one after the other on one connection.

usage: h3_curl_cffi.py '{"url": "https://localhost:8443/a/..", "ca": "ca.pem", "ranges": [[0, 99], null]}'

Optional keys: "method" (GET), "headers" (an object), "http" ("3", the default, or "2" or "1.1"). A range is [first, last], a
Range header's text, or null for none. Prints the same line as h3_range.py; another HTTP version than the one asked for is an
error. Every transfer ends within TRANSFER_SECS, the whole within DEADLINE_SECS.
"""

import hashlib
import json
import signal
import sys

from curl_cffi import CurlHttpVersion, requests

TRANSFER_SECS = 15
DEADLINE_SECS = 30

VERSIONS = {"1.1": CurlHttpVersion.V1_1, "2": CurlHttpVersion.V2_0, "3": CurlHttpVersion.V3ONLY}
# What libcurl reports (CURLINFO_HTTP_VERSION).
REPORTED = {1: "1.0", 2: "1.1", 3: "2", 30: "3"}


def fetch(wish):
    wanted = wish.get("http", "3")
    answers = []
    with requests.Session(verify=wish["ca"], http_version=VERSIONS[wanted], timeout=TRANSFER_SECS) as session:
        for asked in wish["ranges"]:
            headers = dict(wish.get("headers", {}))
            if asked is not None:
                headers["Range"] = range_text(asked)
            reply = session.request(wish.get("method", "GET"), wish["url"], headers=headers)
            version = REPORTED.get(reply.http_version, str(reply.http_version))
            if version != wanted:
                raise RuntimeError(f"HTTP/{version} instead of HTTP/{wanted}")
            answers.append(result(asked, reply, version))
    return answers


def range_text(asked):
    return asked if isinstance(asked, str) else "bytes={}-{}".format(*asked)


def result(asked, reply, version):
    return {
        "range": asked,
        "status": reply.status_code,
        "length": len(reply.content),
        "sha256": hashlib.sha256(reply.content).hexdigest(),
        "http_version": version,
        "headers": {name.lower(): value for name, value in reply.headers.items()},
    }


def overdue(_signal, _frame):
    raise TimeoutError(f"not done after {DEADLINE_SECS} s")


def main():
    signal.signal(signal.SIGALRM, overdue)
    signal.alarm(DEADLINE_SECS)
    try:
        answers = fetch(json.loads(sys.argv[1]))
    except Exception as error:  # whatever it is, the caller gets its one line
        answer, code = {"ok": False, "error": f"{type(error).__name__}: {error}"}, 1
    else:
        answer, code = {"ok": True, "answers": answers}, 0
    print(json.dumps(answer))
    return code


if __name__ == "__main__":
    sys.exit(main())
