"""Mints special tokens with an emulator's own private key.

    mint.py --provision FILE < instructions

FILE holds what provision.py printed. Standard input is one JSON object or an array of them; standard output is one
token a line, in the same order. All members are optional:

    user        whose native token lends the claims: alice (default), bob, carol, or null for no claims at all
    pool        "main" (default) or "foreign": whose token and key (the foreign pool has alice only)
    token_use   "id" (default) or "access": which of the user's tokens lends the claims (main pool: alice's access token)
    roles       array of role ARNs, best first, or null for none; by default those of the user's groups
    claims      object: set these claims          remove         array: drop these claims, after all else
    lifetime    seconds until expiry (3600); negative: expired      issued_ago   seconds since it was issued (0)
    key         "id" (default), "access": the pool's key of that use; "foreign": the foreign pool's; "fresh": unpublished
    header      object: set these header members, e.g. {"alg": "none"} or {"alg": "HS256"}; null drops one
    tamper      "signature" or "payload": change that part after signing
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
import tokens  # noqa: E402

KNOWN = {"user", "pool", "token_use", "roles", "claims", "remove", "lifetime", "issued_ago", "key", "header", "tamper"}


def base_token(world, want):
    """The native token whose claims are taken; None for a token made of nothing."""
    user = want.get("user", "alice")
    if user is None:
        return None
    if want.get("pool") == "foreign":
        return world["foreign_token"]
    if want.get("token_use") == "access":
        return world["access_token"]
    return world["native_tokens"][user]


def signing_key(world, want):
    """The private key, and the kid under which it is (or, for a fresh one, pretends to be) published."""
    use = want.get("key", "id")
    if use == "fresh":
        return tokens.fresh_key(), world["kids"]["id"]
    foreign = use == "foreign" or want.get("pool") == "foreign"
    pool_id = world["foreign_user_pool_id" if foreign else "user_pool_id"]
    kid = world["kids"]["foreign" if foreign else use]
    use = "id" if foreign else use
    return tokens.load_key(world["kind"], pool_id, use, world["state_dir"]), kid


def claims_for(world, want):
    native = base_token(world, want)
    claims = tokens.claims_of(native) if native else {}
    roles = want.get("roles", world["roles"].get(want.get("user", "alice"), []))
    claims = tokens.with_roles(claims, roles if want.get("token_use") != "access" else want.get("roles"))
    claims = tokens.lasting(claims, want.get("lifetime", 3600), want.get("issued_ago", 0))
    claims.update(want.get("claims", {}))
    return {name: value for name, value in claims.items() if name not in want.get("remove", [])}


def mint(world, want):
    unknown = set(want) - KNOWN
    if unknown:
        raise SystemExit(f"mint.py: unknown members {sorted(unknown)}; known are {sorted(KNOWN)}")
    key, kid = signing_key(world, want)
    header = {"kid": kid, "alg": "RS256", **want.get("header", {})}
    header = {name: value for name, value in header.items() if value is not None}
    token = tokens.sign(header, claims_for(world, want), key)
    return tokens.tampered(token, want["tamper"]) if "tamper" in want else token


def main():
    arguments = argparse.ArgumentParser(description="Mints tokens with an emulator's key; instructions on stdin.")
    arguments.add_argument("--provision", required=True, help="file with the JSON that provision.py printed")
    world = json.loads(pathlib.Path(arguments.parse_args().provision).read_text())
    wants = json.load(sys.stdin)
    for want in wants if isinstance(wants, list) else [wants]:
        print(mint(world, want))


if __name__ == "__main__":
    main()
