"""The gRPC way: credentials now, and each renewal, for as long as the token is good.

    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. cupbearer/v1/broker.proto
    python watch.py 127.0.0.1:2871 TOKEN_FILE

A watch suits a job that outlives a request: the newest credentials are always at hand, and nobody polls.
"""

import pathlib
import sys

import grpc
from cupbearer.v1 import broker_pb2, broker_pb2_grpc

address, token_file = sys.argv[1:]
token = pathlib.Path(token_file).read_text().strip()
# The channel must not take a proxy from the environment.
with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
    stub = broker_pb2_grpc.CredentialBrokerStub(channel)
    watch = stub.WatchCredentials(
        broker_pb2.WatchCredentialsRequest(), metadata=[("authorization", f"Bearer {token}")]
    )
    try:
        for message in watch:
            held, by = message.credentials, message.present_token_by
            print(f"{held.access_key_id} until {held.expiration.ToJsonString()}, new token by {by.ToJsonString()}", flush=True)
    except grpc.RpcError as ended:
        # UNAUTHENTICATED: the token has expired. Watch again with a newer one.
        sys.exit(f"{ended.code().name}: {ended.details()}")
