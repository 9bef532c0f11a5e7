"""The container-credentials way: a program with a stock AWS SDK, and no line about cupbearer.

    export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:2870/v1/credentials
    export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/run/app/user.jwt
    python stock.py BUCKET KEY

boto3 asks the broker by itself, and again before the credentials expire.
"""

import sys

import boto3

bucket, key = sys.argv[1:]
print(boto3.client("sts").get_caller_identity()["Arn"])
print(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())
