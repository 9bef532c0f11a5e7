"""What every Python client does with its credentials: who am I, read, try to write; and how it reports.

A client's environment is empty but for PATH, env.json (which closes every other source of credentials and every way off
this host), HOME (an empty directory), AWS_ENDPOINT_URL and AWS_REGION, and what names the broker's endpoint.
Each client prints one JSON line: {"arn", "account", "read", "write", …}, `write` being "ok" or the service's error code;
or {"error": …} with exit code 1 when it got no credentials or no identity, 2 when it was called wrongly.
"""

import argparse
import ipaddress
import json
import os
import sys
import time
import urllib.parse

import botocore.config
import botocore.exceptions

FAILURES = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
CONFIG = botocore.config.Config(
    connect_timeout=5, read_timeout=10, retries={"max_attempts": 2}, s3={"addressing_style": "path"}
)


def parser(description):
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--bucket", required=True)
    arguments.add_argument("--key", required=True, help="an object that exists")
    arguments.add_argument("--loop", type=int, default=1, help="how often GetCallerIdentity is called")
    arguments.add_argument("--interval", type=float, default=0.0, help="seconds between those calls")
    return arguments


def report(answer, code=0):
    print(json.dumps(answer))
    sys.stdout.flush()
    raise SystemExit(code)


def require_loopback(*names):
    """Stops unless each of these environment variables is a URL of this host."""
    for name in names:
        host = urllib.parse.urlsplit(os.environ.get(name, "")).hostname or ""
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            report({"error": f"{name} must be a URL with a loopback address"}, 2)


def code_of(failure):
    """The service's error code, or the client's own name for what went wrong."""
    if isinstance(failure, botocore.exceptions.ClientError):
        return failure.response["Error"]["Code"]
    return type(failure).__name__


def identify(sts, loop, interval):
    """GetCallerIdentity, `loop` times; an identity if any call gave one."""
    seen, failures, last = {}, 0, None
    for turn in range(loop):
        if turn:
            time.sleep(interval)
        try:
            answer = sts.get_caller_identity()
            seen[answer["Arn"]] = answer["Account"]
        except FAILURES as failure:
            failures, last = failures + 1, failure
    if not seen:
        report({"error": f"{code_of(last)}: {last}"}, 1)
    arn = list(seen)[-1]
    answer = {"arn": arn, "account": seen[arn], "calls": loop, "failures": failures, "arns": sorted(seen)}
    return {**answer, "last_failure": code_of(last)} if last else answer


def touch(s3, bucket, key, name):
    """Reads the object, then tries to write one beside it."""
    answer = {"read": True, "write": "ok"}
    try:
        answer["body"] = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except FAILURES as failure:
        answer.update(read=False, read_error=code_of(failure))
    try:
        s3.put_object(Bucket=bucket, Key=f"probe/{name}", Body=b"written")
    except FAILURES as failure:
        answer["write"] = code_of(failure)
    return answer


def use(session, settings, name):
    """All of it with a session's credentials."""
    identity = identify(session.client("sts", config=CONFIG), settings.loop, settings.interval)
    return {**identity, **touch(session.client("s3", config=CONFIG), settings.bucket, settings.key, name)}
