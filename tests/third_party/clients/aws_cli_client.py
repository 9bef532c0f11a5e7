"""The AWS CLI, version 1, of the virtual environment that runs this script.

    aws_cli_client.py --bucket B --key K [--aws PATH-OF-AWS]

Environment: as for boto3_client.py. The commands, which work by hand in that environment too:

    aws sts get-caller-identity --output json
    aws s3api get-object --bucket B --key K FILE --output json
    aws s3api put-object --bucket B --key probe/aws-cli --output json

The CLI is a program of its own for each command, so it fetches the credentials three times. --loop and
--interval are taken, as by every client, and ignored.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import aws_use


def run(aws, *arguments):
    """One command; (its JSON, None) or (None, what it wrote on stderr)."""
    done = subprocess.run(
        [sys.executable, aws, *arguments, "--output", "json"], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        return None, done.stderr.strip()
    return json.loads(done.stdout), None


def code_in(text):
    """`An error occurred (AccessDenied) when calling …` holds the service's code."""
    found = re.search(r"An error occurred \((\w+)\)", text)
    return found.group(1) if found else text


def main():
    arguments = aws_use.parser("the AWS CLI against the broker's HTTP door")
    arguments.add_argument("--aws", default=os.path.join(os.path.dirname(sys.executable), "aws"))
    settings = arguments.parse_args()
    aws_use.require_loopback("AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    identity, error = run(settings.aws, "sts", "get-caller-identity")
    if error:
        aws_use.report({"error": error}, 1)
    answer = {"arn": identity["Arn"], "account": identity["Account"], "read": True, "write": "ok"}
    where = ["--bucket", settings.bucket]
    with tempfile.TemporaryDirectory() as directory:
        target = pathlib.Path(directory, "object")
        _, error = run(settings.aws, "s3api", "get-object", *where, "--key", settings.key, str(target))
        if error:
            answer.update(read=False, read_error=code_in(error))
        else:
            answer["body"] = target.read_text()
    _, error = run(settings.aws, "s3api", "put-object", *where, "--key", "probe/aws-cli")
    if error:
        answer["write"] = code_in(error)
    aws_use.report(answer)


if __name__ == "__main__":
    main()
