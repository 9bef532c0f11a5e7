"""boto3 with its default credential chain, of which the environment leaves only the container provider.

    boto3_client.py --bucket B --key K [--loop N] [--interval SECONDS]

Environment: as aws_use.py says, with AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or
AWS_CONTAINER_AUTHORIZATION_TOKEN. The answer's "source" is boto3's own name for where the credentials came from.
"""

import boto3

import aws_use

CONTAINER = "container-role"


def main():
    settings = aws_use.parser("boto3 against the broker's HTTP door").parse_args()
    aws_use.require_loopback("AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    session = boto3.Session()
    try:
        credentials = session.get_credentials()
    except aws_use.FAILURES as failure:
        aws_use.report({"error": f"{aws_use.code_of(failure)}: {failure}"}, 1)
    if credentials is None:
        aws_use.report({"error": "no credentials"}, 1)
    if credentials.method != CONTAINER:
        aws_use.report({"error": f"the credentials came from {credentials.method}"}, 1)
    aws_use.report({**aws_use.use(session, settings, "boto3"), "source": credentials.method})


if __name__ == "__main__":
    main()
