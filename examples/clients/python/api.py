"""The per-request way: an API that reads and writes documents with the role of the user who asks.

    BROKER=http://127.0.0.1:2870 BUCKET=documents python api.py PORT

GET and PUT /documents/KEY with `Authorization: <ID token>`. The broker answers from its cache, so it is asked at every
request: whose token has expired, or who lost a group, is refused by the next one.
"""

import collections
import http.server
import json
import os
import sys
import threading
import urllib.error
import urllib.request

import boto3
from botocore.exceptions import ClientError

BROKER = os.environ["BROKER"] + "/v1/credentials"
BUCKET = os.environ["BUCKET"]
# No proxy of the environment may see a user's token.
BROKER_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Clients:
    """S3 clients of the users seen last. One lives as long as its credentials: renewed ones have another key id."""

    def __init__(self, most=256):
        self.most, self.held, self.lock = most, collections.OrderedDict(), threading.Lock()

    def of(self, token):
        """The client of the user whose token this is. Raises HTTPError with the broker's own answer."""
        request = urllib.request.Request(BROKER, headers={"Authorization": token})
        with BROKER_OPENER.open(request, timeout=5) as answer:
            user = json.load(answer)
        with self.lock:
            client = self.held.pop(user["AccessKeyId"], None)
            if client is None:
                session = boto3.Session(user["AccessKeyId"], user["SecretAccessKey"], user["Token"])
                client = session.client("s3")
            self.held[user["AccessKeyId"]] = client
            if len(self.held) > self.most:
                self.held.popitem(last=False)
        return client


CLIENTS = Clients()


class Documents(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(lambda s3, key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(lambda s3, key: s3.put_object(Bucket=BUCKET, Key=key, Body=body) and b"written")

    def answer(self, act):
        try:
            s3 = CLIENTS.of(self.headers.get("Authorization", ""))
            status, body = 200, act(s3, self.path.removeprefix("/documents/"))
        except urllib.error.HTTPError as refused:
            status, body = refused.code, refused.read()
        except ClientError as refused:
            status = refused.response["ResponseMetadata"]["HTTPStatusCode"]
            body = refused.response["Error"]["Code"].encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Documents)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
