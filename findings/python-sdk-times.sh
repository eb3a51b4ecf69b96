#!/usr/bin/env bash
# The official Python SDK reads a task's times by one fixed pattern: with a fraction of a second and a literal `Z`.
#
# Library: meilisearch (PyPI) 0.43.0.
# Input: three RFC 3339 times that name the same second, in an otherwise ordinary task.
# Seen: "2026-11-30T08:00:00.0Z" is read, but without its zone: the datetime is naive, so that comparing it with an aware one
#   raises TypeError. "2026-11-30T08:00:00Z" and "2026-11-30T09:00:00.0+01:00" raise a pydantic ValidationError; in the
#   message of the latter the SDK has already cut characters out of the zone ("+01:0Z").
# Why it matters: whoever answers for a Meilisearch must write a fraction even when it is zero, and must not write offsets.
# Exit status: 0 as described, 1 something has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check meilisearch==0.43.0
"$work/venv/bin/python" - <<'PYTHON'
import http.server
import json
import threading

import meilisearch
from meilisearch.version import __version__

TASK = {
    "uid": 1, "batchUid": 1, "indexUid": "movies", "status": "succeeded", "type": "documentAdditionOrUpdate",
    "canceledBy": None, "details": {"receivedDocuments": 1, "indexedDocuments": 1}, "error": None, "duration": "PT0.1S",
    "startedAt": "2026-11-30T08:00:00.1Z", "finishedAt": "2026-11-30T08:00:00.2Z",
}
enqueued = ""


class Stub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({**TASK, "enqueuedAt": enqueued}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = meilisearch.Client(f"http://127.0.0.1:{server.server_port}")


def read(text):
    global enqueued
    enqueued = text
    try:
        return repr(client.get_task(1).enqueued_at)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[2].strip().split(' [')[0]}"


seen = [read(text) for text in ("2026-11-30T08:00:00.0Z", "2026-11-30T08:00:00Z", "2026-11-30T09:00:00.0+01:00")]
print("meilisearch", __version__)
for line in seen:
    print(" ", line)
expected = [
    "datetime.datetime(2026, 11, 30, 8, 0)",
    "ValidationError: Value error, time data '2026-11-30T08:00:00Z' does not match format '%Y-%m-%dT%H:%M:%S.%fZ'",
    "ValidationError: Value error, time data '2026-11-30T09:00:00.0+01:0Z' does not match format '%Y-%m-%dT%H:%M:%S.%fZ'",
]
server.shutdown()
raise SystemExit(0 if seen == expected else 1)
PYTHON
