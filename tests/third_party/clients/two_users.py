"""Two users in one process, each with a stock SDK on a session URI of its own.

    two_users.py --calls N < sessions

Standard input: a JSON list of {"uri", "token", "role"}. Each gets a botocore session whose only credential source is
the container provider with that URI and token; GetCallerIdentity is then called N times in turn, and has to name the
user's own role each time. Environment: as for boto3_client.py, without the container variables.
Prints {"calls", "wrong", "roles"}.
"""

import argparse
import json
import sys

import botocore.credentials
import botocore.session

import aws_use


def client_of(session):
    own = botocore.session.Session()
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": session["uri"],
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": session["token"],
    }
    provider = botocore.credentials.ContainerProvider(environ=environ)
    own.register_component("credential_provider", botocore.credentials.CredentialResolver([provider]))
    return own.create_client("sts", config=aws_use.CONFIG)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, required=True)
    calls = arguments.parse_args().calls
    aws_use.require_loopback("AWS_ENDPOINT_URL")
    sessions = json.load(sys.stdin)
    users = [(client_of(session), session["role"]) for session in sessions]
    wrong, seen = 0, set()
    for turn in range(calls):
        client, role = users[turn % len(users)]
        arn = client.get_caller_identity()["Arn"]
        seen.add(arn.split("/")[1])
        wrong += f"/{role}/" not in arn
    aws_use.report({"calls": calls, "wrong": wrong, "roles": sorted(seen)})


if __name__ == "__main__":
    main()
