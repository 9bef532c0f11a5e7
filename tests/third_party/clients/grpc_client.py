"""A gRPC client that asks the broker for credentials and uses them with boto3.

    grpc_client.py --address 127.0.0.1:PORT --token-file F --proto-dir proto --gen DIR --bucket B --key K
                   [--profile P] [--role R] [--timeout SECONDS]

It compiles cupbearer/v1/broker.proto of --proto-dir into --gen, asks grpc.health.v1 for the service's health, calls
GetCredentials and then does what every client does (aws_use.py; the same environment, without the container variables).
When the call fails: {"error", "code": "UNAUTHENTICATED", "reason": …, "retry_delay": seconds, "health": …} and exit code
1; reason and retry_delay are those of google.rpc ErrorInfo and RetryInfo.
"""

import importlib.resources
import pathlib
import sys

import boto3
import grpc
import grpc_tools.protoc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

import aws_use

SERVICE = "cupbearer.v1.CredentialBroker"
PROTO = "cupbearer/v1/broker.proto"


def compiled(proto_dir, gen):
    """The modules made of broker.proto."""
    pathlib.Path(gen).mkdir(parents=True, exist_ok=True)
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    options = [f"-I{proto_dir}", f"-I{well_known}", f"--python_out={gen}", f"--grpc_python_out={gen}", PROTO]
    if grpc_tools.protoc.main(["protoc", *options]) != 0:
        aws_use.report({"error": f"cannot compile {PROTO}"}, 2)
    sys.path.insert(0, str(gen))
    from cupbearer.v1 import broker_pb2, broker_pb2_grpc

    return broker_pb2, broker_pb2_grpc


def health(channel, timeout):
    """The broker's health as gRPC names it, or the status code of the failed check."""
    check = health_pb2_grpc.HealthStub(channel).Check
    try:
        answer = check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=timeout)
    except grpc.RpcError as failure:
        return failure.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def failed(failure):
    """A failed call as a report: its code and the google.rpc details that came with it."""
    answer = {"error": failure.details(), "code": failure.code().name, "reason": None, "retry_delay": None}
    status = rpc_status.from_call(failure)
    for detail in status.details if status else []:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            answer.update(reason=info.reason, domain=info.domain)
        elif detail.Unpack(retry):
            answer["retry_delay"] = retry.retry_delay.ToTimedelta().total_seconds()
    return answer


def ask(channel, settings):
    """GetCredentials with the token as metadata."""
    messages, services = compiled(settings.proto_dir, settings.gen)
    metadata = []
    if settings.token_file:
        metadata.append(("authorization", f"Bearer {pathlib.Path(settings.token_file).read_text().strip()}"))
    return services.CredentialBrokerStub(channel).GetCredentials(
        messages.GetCredentialsRequest(profile=settings.profile, role=settings.role),
        metadata=metadata,
        timeout=settings.timeout,
    )


def parse_arguments():
    arguments = aws_use.parser("Python gRPC against the broker's gRPC door")
    arguments.add_argument("--address", required=True)
    arguments.add_argument("--token-file", help="without it no authorization is sent")
    arguments.add_argument("--proto-dir", required=True)
    arguments.add_argument("--gen", required=True, help="a directory of this run, for the generated modules")
    arguments.add_argument("--profile", default="")
    arguments.add_argument("--role", default="")
    arguments.add_argument("--timeout", type=float, default=5.0)
    return arguments.parse_args()


def main():
    settings = parse_arguments()
    aws_use.require_loopback("AWS_ENDPOINT_URL")
    with grpc.insecure_channel(settings.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        healthy = health(channel, settings.timeout)
        try:
            answer = ask(channel, settings)
        except grpc.RpcError as failure:
            aws_use.report({**failed(failure), "health": healthy}, 1)
    held = answer.credentials
    session = boto3.Session(held.access_key_id, held.secret_access_key, held.session_token)
    told = {
        "code": "OK",
        "health": healthy,
        "role_arn": held.role_arn,
        "identity_id": held.identity_id,
        "expiration": held.expiration.ToJsonString(),
        "present_token_by": answer.present_token_by.ToJsonString() if answer.HasField("present_token_by") else None,
    }
    aws_use.report({**aws_use.use(session, settings, "grpc-python"), **told})


if __name__ == "__main__":
    main()
