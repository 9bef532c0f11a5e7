"""Deploys deploy/cloudformation/cupbearer.yaml into ministack, fills it with users, and prints what is there as JSON.

    stack.py --endpoint http://127.0.0.1:PORT --state-dir DIR --name NAME [--broker] [--guests]

Everything but the users is made by CloudFormation, from the template as it is: its parameters are the only inputs. Their
tokens get the role claims that Cognito would give them, since no emulator does (see tokens.py). With --broker the stack
has an IAM user as the broker's own identity, with the policy that the stack made for it; with --guests the identity pool
takes them.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
import boto3  # noqa: E402
import botocore.config  # noqa: E402

import tokens  # noqa: E402

REGION = "us-east-1"
PASSWORD = "Correct-horse-7-battery"
USERS = {"alice": ["admin", "editor"], "bob": ["editor"], "carol": []}  # best group first
TEMPLATE = pathlib.Path(__file__).parents[2] / "deploy" / "cloudformation" / "cupbearer.yaml"


def client(settings, service):
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=settings.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def deploy(settings, parameters):
    cloudformation = client(settings, "cloudformation")
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(
        StackName=settings.name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=given,
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=settings.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    (stack,) = cloudformation.describe_stacks(StackName=settings.name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def as_aws_tells(settings, outputs):
    """The emulator tells booleans as the texts that CloudFormation's may be, and role mappings by the template's names of
    them, not by the provider: both are made what AWS makes of them, from what the emulator has of the template."""
    identity, pool = client(settings, "cognito-identity"), outputs["IdentityPoolId"]
    told = identity.describe_identity_pool(IdentityPoolId=pool)
    true = lambda value: str(value).lower() == "true"  # noqa: E731
    providers = told["CognitoIdentityProviders"]
    for provider in providers:
        provider["ServerSideTokenCheck"] = true(provider["ServerSideTokenCheck"])
    identity.update_identity_pool(
        IdentityPoolId=pool,
        IdentityPoolName=told["IdentityPoolName"],
        AllowUnauthenticatedIdentities=true(told["AllowUnauthenticatedIdentities"]),
        AllowClassicFlow=true(told["AllowClassicFlow"]),
        CognitoIdentityProviders=providers,
    )
    told = identity.get_identity_pool_roles(IdentityPoolId=pool)
    (mapping,) = told["RoleMappings"].values()
    (provider,) = providers
    key = f"{provider['ProviderName']}:{provider['ClientId']}"
    identity.set_identity_pool_roles(IdentityPoolId=pool, Roles=told["Roles"], RoleMappings={key: mapping})


def broker_user(settings):
    """The broker's own identity, which the roles of the stack are to trust."""
    iam, name = client(settings, "iam"), f"{settings.name}-broker"
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"name": name, "arn": arn, "key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def sign_in(settings, outputs):
    """Users, and for each an ID token with its role claims."""
    idp, pool = client(settings, "cognito-idp"), outputs["UserPoolId"]
    roles = {group["GroupName"]: group["RoleArn"] for group in idp.list_groups(UserPoolId=pool)["Groups"]}
    made = {}
    for name, groups in USERS.items():
        mail = [{"Name": "email", "Value": f"{name}@example.com"}]
        idp.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS", UserAttributes=mail)
        idp.admin_set_user_password(UserPoolId=pool, Username=name, Password=PASSWORD, Permanent=True)
        for group in groups:
            idp.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=group)
        login = idp.initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=outputs["ClientId"],
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )
        native = login["AuthenticationResult"]["IdToken"]
        # There once somebody has signed in.
        key = tokens.load_key("ministack", pool, "id", settings.state_dir)
        claims = tokens.with_roles(tokens.claims_of(native), [roles[group] for group in groups])
        made[name] = tokens.sign(tokens.header_of(native), claims, key)
    return made


def main():
    arguments = argparse.ArgumentParser(description="Deploys the template into ministack.")
    for name in ("--endpoint", "--state-dir", "--name"):
        arguments.add_argument(name, required=True)
    for name in ("--broker", "--guests"):
        arguments.add_argument(name, action="store_true")
    settings = arguments.parse_args()
    parameters = {"Name": settings.name, "PasswordSignIn": "true", "Guests": str(settings.guests).lower()}
    broker = broker_user(settings) if settings.broker else None
    if broker:
        parameters["BrokerPrincipal"] = broker["arn"]
    outputs = deploy(settings, parameters)
    as_aws_tells(settings, outputs)
    if broker:
        client(settings, "iam").attach_user_policy(UserName=broker["name"], PolicyArn=outputs["BrokerPolicyArn"])
    print(json.dumps({"outputs": outputs, "broker": broker, "tokens": sign_in(settings, outputs)}))


if __name__ == "__main__":
    main()
