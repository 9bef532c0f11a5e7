"""Uses credentials, in the broker's own JSON on standard input, on what deploy/cloudformation made.

    stack_client.py --bucket NAME --user-pool ID --new-user NAME

Prints {"arn", "content", "create_user"}: who one is, and "ok" or the service's error code for writing and reading an
object and for creating a user. AWS_ENDPOINT_URL must be of this host.
"""

import json
import sys

import boto3

import aws_use


def attempt(call, **arguments):
    try:
        call(**arguments)
    except aws_use.FAILURES as failure:
        return aws_use.code_of(failure)
    return "ok"


def main():
    arguments = aws_use.argparse.ArgumentParser(description="Uses credentials on the stack.")
    for name in ("--bucket", "--user-pool", "--new-user"):
        arguments.add_argument(name, required=True)
    settings = arguments.parse_args()
    aws_use.require_loopback("AWS_ENDPOINT_URL")
    held = json.load(sys.stdin)
    session = boto3.Session(held["AccessKeyId"], held["SecretAccessKey"], held["Token"])
    s3, idp = (session.client(service, config=aws_use.CONFIG) for service in ("s3", "cognito-idp"))
    key = {"Bucket": settings.bucket, "Key": f"articles/{settings.new_user}"}
    wrote = attempt(s3.put_object, **key, Body=b"written")
    user = {"UserPoolId": settings.user_pool, "Username": settings.new_user, "MessageAction": "SUPPRESS"}
    answer = {
        "arn": session.client("sts", config=aws_use.CONFIG).get_caller_identity()["Arn"],
        "content": wrote if wrote != "ok" else attempt(s3.get_object, **key),
        "create_user": attempt(idp.admin_create_user, **user),
    }
    aws_use.report(answer)


if __name__ == "__main__":
    main()
