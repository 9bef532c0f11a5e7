"""Fills an AWS emulator with the scenario of the tests and prints it as one JSON object.

    provision.py --kind ministack|moto --endpoint http://127.0.0.1:PORT [--state-dir DIR] [--region R] [--enforce-iam]

Admin calls are signed with the emulator's root key, `test`/`test` unless --root-key and --root-secret say otherwise
(ministack with AUTH=true checks that; it takes its root key from the AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of its
environment). --state-dir is ministack's STATE_DIR, where its signing keys lie.

How to start them, with an empty environment but for PATH, HOME and TMPDIR (temporary directories) and:

    ministack                      AUTH=true BIND_HOST=127.0.0.1 GATEWAY_PORT=PORT STATE_DIR=DIR S3_DATA_DIR=DIR/s3
                                   MINISTACK_ACCOUNT_ID=111122223333 IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 LOG_LEVEL=WARNING
                                   DOCKER_HOST=unix:///nonexistent; ready when GET /_ministack/ready answers 200
    moto_server -H 127.0.0.1 -p PORT   MOTO_ACCOUNT_ID=111122223333; ready when GET /moto-api/ answers 200

Without BIND_HOST ministack listens on all addresses; without IOT_MTLS_ENABLED=0 it also takes port 8883 on all of them.
--enforce-iam ends moto's trusting mode after the work: from then on it checks signatures, session tokens and policies,
but only the assume-role flow still runs (its unsigned calls then answer HTTP 500).

The scenario: one user pool with two app clients and the users alice (groups admin and editor), bob (editor) and carol (no
group); a foreign user pool with an alice of its own; a role for each group; identity pools; a bucket with one object,
which editors may read and admins may also write; and an IAM user `broker` who may assume the roles.

ministack always gives the identity pool's authenticated role, whatever the token or CustomRoleArn says. So there are
three identity pools: identity_pool_id (authenticated: the editor's role; role mapping Token), admin_identity_pool_id
(authenticated: the admin's role) and basic_identity_pool_id (classic flow, no role mapping, as AWS wants it).
"""

import argparse
import json
import sys
import urllib.request

sys.dont_write_bytecode = True
import boto3  # noqa: E402
import botocore.config  # noqa: E402
import botocore.exceptions  # noqa: E402

import tokens  # noqa: E402

PASSWORD = "Correct-horse-7-battery"
GROUPS = {"admin": 1, "editor": 2}  # name -> precedence; the lowest wins
USERS = {"alice": ["admin", "editor"], "bob": ["editor"], "carol": []}  # best group first
BUCKET, OBJECT_KEY, OBJECT_BODY = "rbac-users-content", "articles/first.txt", "the first article"


class Emulator:
    """Signed and unsigned clients of one emulator; `settings` are the command line's."""

    def __init__(self, settings):
        self.kind, self.endpoint, self.region = settings.kind, settings.endpoint.rstrip("/"), settings.region
        self.state_dir = settings.state_dir
        self._keys = settings.root_key, settings.root_secret

    def client(self, service):
        key, secret = self._keys
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )


def make_user_pool(idp, name):
    pool = idp.create_user_pool(
        PoolName=name,
        Schema=[{"Name": "department", "AttributeDataType": "String", "Mutable": False}],
    )
    return pool["UserPool"]["Id"]


def make_app_client(idp, pool_id, name):
    made = idp.create_user_pool_client(
        UserPoolId=pool_id,
        ClientName=name,
        GenerateSecret=False,
        ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        # moto leaves the e-mail address out of ID tokens otherwise.
        ReadAttributes=["email", "custom:department"],
    )
    return made["UserPoolClient"]["ClientId"]


def make_user(idp, pool_id, name, groups):
    idp.admin_create_user(
        UserPoolId=pool_id,
        Username=name,
        MessageAction="SUPPRESS",
        UserAttributes=[
            {"Name": "email", "Value": f"{name}@example.com"},
            {"Name": "custom:department", "Value": "editorial"},
        ],
    )
    idp.admin_set_user_password(UserPoolId=pool_id, Username=name, Password=PASSWORD, Permanent=True)
    for group in groups:
        idp.admin_add_user_to_group(UserPoolId=pool_id, Username=name, GroupName=group)


def login(idp, client_id, name):
    answer = idp.initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=client_id,
        AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
    )
    return answer["AuthenticationResult"]


def make_identity_pool(identity, name, provider, client_ids, classic=False):
    pool = identity.create_identity_pool(
        IdentityPoolName=name,
        AllowUnauthenticatedIdentities=False,
        AllowClassicFlow=classic,
        CognitoIdentityProviders=[{"ProviderName": provider, "ClientId": client_id} for client_id in client_ids],
    )
    return pool["IdentityPoolId"]


def set_pool_roles(emulator, identity, pool_id, role_arn, mapping_key=None):
    """The authenticated role, and Token mapping for one provider. moto does not implement the call (HTTP 500)."""
    if emulator.kind == "moto":
        return
    mappings = {}
    if mapping_key:
        mappings[mapping_key] = {"Type": "Token", "AmbiguousRoleResolution": "AuthenticatedRole"}
    identity.set_identity_pool_roles(
        IdentityPoolId=pool_id, Roles={"authenticated": role_arn}, RoleMappings=mappings
    )


def trust_policy(identity_pool_ids, broker_arn):
    """Who may assume a role: users who logged in to the identity pools, and the broker by its own identity."""
    federated = {
        "Effect": "Allow",
        "Principal": {"Federated": "cognito-identity.amazonaws.com"},
        "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        "Condition": {
            "StringEquals": {"cognito-identity.amazonaws.com:aud": identity_pool_ids},
            "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "authenticated"},
        },
    }
    broker = {
        "Effect": "Allow",
        "Principal": {"AWS": broker_arn},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    return policy(federated, broker)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions, resources):
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def permissions():
    """What each group's role may do."""
    bucket, objects = f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"
    return {
        "admin": policy(allow("s3:*", [bucket, objects]), allow("sts:*", "*")),
        "editor": policy(
            allow("s3:GetObject", objects),
            allow("s3:ListBucket", bucket),
            allow("sts:GetCallerIdentity", "*"),
            # Only a session that carries this tag may write: proof that a tag arrived.
            {**allow("s3:PutObject", objects), "Condition": {"StringEquals": {"aws:PrincipalTag/tenant": "t1"}}},
        ),
    }


def role_arn(account, group):
    return f"arn:aws:iam::{account}:role/rbac-users-{group}-role"


def make_broker_user(iam, account):
    """The IAM user as whom the broker calls AssumeRole."""
    arn = iam.create_user(UserName="broker")["User"]["Arn"]
    roles = [role_arn(account, group) for group in GROUPS]
    iam.put_user_policy(
        UserName="broker",
        PolicyName="assume-the-group-roles",
        PolicyDocument=policy(allow(["sts:AssumeRole", "sts:TagSession"], roles)),
    )
    key = iam.create_access_key(UserName="broker")["AccessKey"]
    return {"arn": arn, "access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def make_roles(iam, identity_pool_ids, broker_arn):
    trust = trust_policy(identity_pool_ids, broker_arn)
    for group, document in permissions().items():
        name = f"rbac-users-{group}-role"
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=name, PolicyName="content", PolicyDocument=document)


def make_bucket(s3, region):
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=BUCKET, **where)
    s3.put_object(Bucket=BUCKET, Key=OBJECT_KEY, Body=OBJECT_BODY.encode())


def make_user_pools(idp):
    """Both user pools and their app clients."""
    pool_id, foreign_pool_id = make_user_pool(idp, "rbac-users"), make_user_pool(idp, "strangers")
    return {
        "user_pool_id": pool_id,
        "client_id": make_app_client(idp, pool_id, "web"),
        "other_client_id": make_app_client(idp, pool_id, "other"),
        "foreign_user_pool_id": foreign_pool_id,
        "foreign_client_id": make_app_client(idp, foreign_pool_id, "web"),
    }


def make_people(idp, world):
    """Groups and users of both pools, after the roles: ministack looks a group's role up."""
    for pool_id in (world["user_pool_id"], world["foreign_user_pool_id"]):
        for group, precedence in GROUPS.items():
            arn = world[f"{group}_role_arn"]
            idp.create_group(UserPoolId=pool_id, GroupName=group, Precedence=precedence, RoleArn=arn)
    for name, groups in USERS.items():
        make_user(idp, world["user_pool_id"], name, groups)
    make_user(idp, world["foreign_user_pool_id"], "alice", USERS["alice"])


def make_identity_pools(emulator, world, account):
    identity = emulator.client("cognito-identity")
    provider, clients = world["logins_key"], [world["client_id"]]
    pools = {
        "identity_pool_id": make_identity_pool(identity, "rbac_users", provider, clients),
        "admin_identity_pool_id": make_identity_pool(identity, "rbac_admins", provider, clients),
        "basic_identity_pool_id": make_identity_pool(identity, "rbac_basic", provider, clients, classic=True),
    }
    editor, admin = role_arn(account, "editor"), role_arn(account, "admin")
    mapping = f"{provider}:{world['client_id']}"
    set_pool_roles(emulator, identity, pools["identity_pool_id"], editor, mapping)
    set_pool_roles(emulator, identity, pools["admin_identity_pool_id"], admin, mapping)
    set_pool_roles(emulator, identity, pools["basic_identity_pool_id"], editor)
    return pools


def make_tokens(emulator, idp, world):
    """Everybody's tokens: native ones, and those with the claims that Cognito adds for groups with roles."""
    logins = {name: login(idp, world["client_id"], name) for name in USERS}
    other = login(idp, world["other_client_id"], "alice")
    foreign = login(idp, world["foreign_client_id"], "alice")
    key = tokens.load_key(emulator.kind, world["user_pool_id"], "id", emulator.state_dir)
    foreign_key = tokens.load_key(emulator.kind, world["foreign_user_pool_id"], "id", emulator.state_dir)
    best = world["roles"]

    def signed(native, name, key, **times):
        claims = tokens.with_roles(tokens.claims_of(native), best[name])
        claims = tokens.lasting(claims, **times) if times else claims
        return tokens.sign(tokens.header_of(native), claims, key)

    alice = logins["alice"]["IdToken"]
    with_roles = {name: signed(logins[name]["IdToken"], name, key) for name in USERS}
    return {
        "native_tokens": {name: logins[name]["IdToken"] for name in USERS},
        "tokens": with_roles,
        "refresh_tokens": {name: logins[name]["RefreshToken"] for name in USERS},
        "access_token": logins["alice"]["AccessToken"],
        "other_client_token": signed(other["IdToken"], "alice", key),
        "foreign_token": signed(foreign["IdToken"], "alice", foreign_key),
        "expired_token": signed(alice, "alice", key, seconds=-3600, issued_ago=7200),
        "tampered_token": tokens.tampered(with_roles["bob"], "payload"),
        "kids": {
            "id": tokens.header_of(alice)["kid"],
            "access": tokens.header_of(logins["alice"]["AccessToken"])["kid"],
            "foreign": tokens.header_of(foreign["IdToken"])["kid"],
        },
    }


def provision(emulator):
    account = emulator.client("sts").get_caller_identity()["Account"]
    idp, iam = emulator.client("cognito-idp"), emulator.client("iam")
    world = {
        "kind": emulator.kind,
        "endpoint": emulator.endpoint,
        "state_dir": emulator.state_dir,
        "region": emulator.region,
        "account": account,
        "admin_role_arn": role_arn(account, "admin"),
        "editor_role_arn": role_arn(account, "editor"),
        "roles": {name: [role_arn(account, group) for group in groups] for name, groups in USERS.items()},
        "password": PASSWORD,
        "bucket": BUCKET,
        "key": OBJECT_KEY,
        "body": OBJECT_BODY,
    }
    world.update(make_user_pools(idp))
    host = f"cognito-idp.{emulator.region}.amazonaws.com"
    world["logins_key"] = f"{host}/{world['user_pool_id']}"
    world["issuer"] = f"https://{world['logins_key']}"
    world["jwks_url"] = f"{emulator.endpoint}/{world['user_pool_id']}/.well-known/jwks.json"
    world["foreign_jwks_url"] = f"{emulator.endpoint}/{world['foreign_user_pool_id']}/.well-known/jwks.json"
    world["broker"] = make_broker_user(iam, account)
    pools = make_identity_pools(emulator, world, account)
    make_roles(iam, list(pools.values()), world["broker"]["arn"])
    make_people(idp, world)
    make_bucket(emulator.client("s3"), emulator.region)
    return {**world, **pools, **make_tokens(emulator, idp, world)}


def enforce_iam(endpoint):
    """Makes moto check every request from now on."""
    request = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}, method="POST"
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


def parse_arguments():
    arguments = argparse.ArgumentParser(description="Fills an AWS emulator with the scenario of the tests.")
    arguments.add_argument("--kind", choices=["ministack", "moto"], required=True)
    arguments.add_argument("--endpoint", required=True, help="e.g. http://127.0.0.1:5600")
    arguments.add_argument("--state-dir", help="ministack's STATE_DIR")
    arguments.add_argument("--region", default="us-east-1")
    arguments.add_argument("--root-key", default="test")
    arguments.add_argument("--root-secret", default="test")
    arguments.add_argument("--enforce-iam", action="store_true", help="moto only")
    settings = arguments.parse_args()
    if settings.kind == "ministack" and not settings.state_dir:
        arguments.error("--kind ministack needs --state-dir")
    if settings.enforce_iam and settings.kind != "moto":
        arguments.error("--enforce-iam is moto's; ministack takes AUTH=true")
    return settings


def main():
    settings = parse_arguments()
    try:
        world = provision(Emulator(settings))
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as failure:
        raise SystemExit(f"provision.py: {failure}") from None
    if settings.enforce_iam:
        enforce_iam(world["endpoint"])
    print(json.dumps(world))


if __name__ == "__main__":
    main()
