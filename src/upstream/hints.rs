//! What AWS's error texts mean for an operator. Pure; for the log only, never for a decision: the texts may change.

use crate::metrics::Operation;

/// Whose refusal a hint is for, where one text means two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Any,
    /// AssumeRoleWithWebIdentity: the token there is the identity pool's.
    WebIdentity,
    /// Any call for a guest, who brings no login.
    Guest,
}

/// A fragment of an AWS code and message (`Code: message`) in lower case, and what to look at when it appears. The first
/// that fits counts.
const HINTS: &[(Of, &str, &str)] = &[
    (
        Of::Any,
        "not from a supported provider of this identity pool",
        "the identity pool has no provider with this user pool and this app client (aud): add both to the pool",
    ),
    (
        Of::Any,
        "issuer doesn't match providername",
        "the Logins key is not the token's issuer without https://: check the region and pool id, or set logins_key",
    ),
    (
        Of::WebIdentity,
        "expiredtoken",
        "the identity pool's ten-minute token is meant, not the user's, and a second one had expired as well: \
         compare the clocks of what stands in AWS's place, or look for a delay on the way to STS",
    ),
    (Of::Any, "token expired", "AWS counts the ID token as expired: compare this machine's clock with AWS's"),
    (Of::Any, "missing a required claim: aud", "an access token was sent: identity pools take ID tokens only"),
    (
        Of::Any,
        "couldn't verify signed token",
        "AWS does not know the token's key: wrong user pool, or its keys are being rotated",
    ),
    (
        Of::Any,
        "not a cognito token",
        "the login stands under a Logins key that it does not belong to: check logins_key",
    ),
    (
        Of::Any,
        "logins don't match",
        "the identity belongs to another pool or user, or the pool takes no such provider; it is asked for anew",
    ),
    (
        Of::Any,
        "access to identity",
        "the identity was used without its own login, or it is disabled or merged; it is asked for anew",
    ),
    (
        Of::Guest,
        "unauthenticated access is not supported",
        "guests are off in the identity pool: switch on AllowUnauthenticatedIdentities, or take \
         allow_unauthenticated from the profile",
    ),
    (
        Of::Any,
        "unauthenticated access is not supported",
        "no login arrived at AWS: check that logins_key is what the identity pool expects",
    ),
    (
        Of::Any,
        "ambiguous role mapping rules",
        "the pool's AmbiguousRoleResolution is Deny and the token names no single role: ask for a role, give the groups \
         different precedences, or add a rule",
    ),
    (
        Of::Any,
        "check assigned iam roles for this pool",
        "the pool has no default role, or STS refused the role: look at its trust policy (aud, amr, \
         sts:AssumeRoleWithWebIdentity, sts:TagSession), and whether the role still exists",
    ),
    (
        Of::Any,
        "flow not enabled for this client",
        "the app client does not renew logins: switch on ALLOW_REFRESH_TOKEN_AUTH in it, or the rotation of refresh \
         tokens",
    ),
    (
        Of::Any,
        "flow is not enabled",
        "the classic flow is off in the identity pool: switch on AllowClassicFlow, or use flow enhanced",
    ),
    (
        Of::Any,
        "is not supported with rolemappings",
        "an identity pool with role mappings has no classic flow: remove the mappings, or use flow enhanced",
    ),
    (
        Of::Any,
        "sts:assumerolewithwebidentity",
        "the role's trust policy does not admit the identity pool: look at its principal, and at the conditions on aud \
         (the identity pool's id) and amr (authenticated)",
    ),
    (
        Of::Any,
        "not a valid jwt",
        "STS got another token than GetOpenIdToken's: that is a fault of the broker, or of what stands in AWS's \
         place",
    ),
    (Of::Any, "incorrect token audience", "STS got a token of another identity pool: compare identity_pool_id"),
    (
        Of::Any,
        "no openidconnect provider",
        "STS does not know the token's issuer: it must be cognito-identity.amazonaws.com",
    ),
    (Of::Any, "exceeds the maxsessionduration", "lower duration_seconds, or raise the role's maximum session duration"),
    (
        Of::Any,
        "exceeds the 1 hour session limit for roles assumed by role chaining",
        "the broker runs as a role itself, so that duration_seconds can be 3600 at most",
    ),
    (
        Of::Any,
        "is not authorized to perform",
        "the action that the message names is missing: in the role's trust policy (for the broker's identity), or in \
         the policy of the broker's identity",
    ),
    (
        Of::Any,
        "refresh token has been revoked",
        "the user, or an administrator, signed out: the user has to sign in again",
    ),
    (
        Of::Any,
        "refresh token has expired",
        "the user has to sign in again; the app client says how long refresh tokens last",
    ),
    (
        Of::Any,
        "refresh token reuse detected",
        "two have used one refresh token after it was rotated: give each session one of its own, or look for a thief",
    ),
    (
        Of::Any,
        "invalid refresh token",
        "the refresh token is of another app client, or the user pool remembers devices, which is not supported",
    ),
    (Of::Any, "secret was not received", "the app client has a secret: name it in user_pools.client_secret_file"),
    (Of::Any, "does not match for the client", "the client secret is wrong: compare user_pools.client_secret_file"),
    (Of::Any, "unable to verify secret", "the client secret is wrong: compare user_pools.client_secret_file"),
    (
        Of::Any,
        "packedpolicytoolarge",
        "the session's tags and policies are too large: fewer or shorter tags, a shorter policy",
    ),
    (Of::Any, "not found", "wrong region or account, or deleted: compare identity_pool_id with the AWS console"),
    (
        Of::Any,
        "rate exceeded",
        "the account's quota of this API is used up (GetId: 25 a second by default): raise it at AWS",
    ),
    (
        Of::Any,
        "too many requests",
        "the account's quota of this API is used up (GetId: 25 a second by default): raise it at AWS",
    ),
    (
        Of::Any,
        "resourceconflictexception",
        "two calls changed one identity at once, which passes; should it stay, the identity has another login of the \
         same provider: delete the identity, and a new one is made",
    ),
    (
        Of::Any,
        "security token included in the request",
        "the broker's own credentials have expired or are unknown: look at where AWS's default chain finds them",
    ),
];

/// The hint for a refusal of `operation` with `code` and `message`, if it is a known one; `guest` is one for whom no login
/// was sent.
pub(super) fn hint(operation: Operation, guest: bool, code: &str, message: &str) -> Option<&'static str> {
    let text = format!("{code}: {message}").to_lowercase();
    let concerns = |of| match of {
        Of::Any => true,
        Of::WebIdentity => operation == Operation::AssumeRoleWithWebIdentity,
        Of::Guest => guest,
    };
    HINTS.iter().find(|(of, fragment, _)| concerns(*of) && text.contains(fragment)).map(|(_, _, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_texts_find_their_hints() {
        let table = [
            ("Token is not from a supported provider of this identity pool.", "app client"),
            ("Invalid login token. Issuer doesn't match providerName", "logins_key"),
            ("Invalid login token. Token expired: 1589092400 >= 1589092129", "clock"),
            ("Invalid login token. Missing a required claim: aud", "ID tokens only"),
            ("Invalid login token. Couldn't verify signed token.", "rotated"),
            ("Invalid login token. Not a Cognito token.", "logins_key"),
            ("Logins don't match. Please include at least one valid login for this identity or identity pool.", "anew"),
            ("Access to Identity 'us-east-1:x' is forbidden.", "anew"),
            ("Unauthenticated access is not supported for this identity pool.", "no login arrived"),
            ("The ambiguous role mapping rules for: x denied this request.", "precedences"),
            ("Invalid identity pool configuration. Check assigned IAM roles for this pool.", "trust policy"),
            ("Basic (classic) flow is not enabled, please use enhanced flow.", "AllowClassicFlow"),
            ("Basic (classic) flow is not supported with RoleMappings, please use enhanced flow.", "mappings"),
            ("IdentityPool 'us-east-1:x' not found.", "wrong region"),
            ("Not authorized to perform sts:AssumeRoleWithWebIdentity", "trust policy"),
            ("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)", "STS"),
            ("Incorrect token audience", "identity_pool_id"),
            ("No OpenIDConnect provider found in your account for https://x", "issuer"),
            ("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", "maximum"),
            (
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
                "3600",
            ),
            ("User: arn:x is not authorized to perform: sts:TagSession on resource: arn:y", "trust policy"),
            ("USER_PASSWORD_AUTH flow not enabled for this client", "ALLOW_REFRESH_TOKEN_AUTH"),
            ("The security token included in the request is expired", "own credentials"),
            ("Refresh Token has been revoked", "sign in"),
            ("Refresh Token has expired", "sign in"),
            ("Refresh token reuse detected", "thief"),
            ("Invalid Refresh Token.", "app client"),
            ("Client x is configured for secret but secret was not received", "client_secret_file"),
            ("SecretHash does not match for the client: x", "client_secret_file"),
            ("Unable to verify secret hash for client x", "client_secret_file"),
            ("Rate exceeded", "quota"),
            ("Too many requests", "quota"),
        ];
        for (message, word) in table {
            let found = hint(Operation::GetId, false, "Code", message);
            assert!(found.is_some_and(|hint| hint.contains(word)), "{message}");
        }
        assert_eq!(hint(Operation::GetId, true, "Code", "something new"), None);
    }

    #[test]
    fn one_text_may_mean_two_things() {
        let (expired, off) = ("Token expired: current date/time", "Unauthenticated access is not supported");
        let table = [
            (Operation::GetId, false, "NotAuthorizedException", expired, "ID token"),
            (Operation::AssumeRoleWithWebIdentity, false, "ExpiredTokenException", expired, "ten-minute"),
            (Operation::GetId, false, "NotAuthorizedException", off, "no login arrived"),
            (Operation::GetId, true, "NotAuthorizedException", off, "guests are off"),
            (Operation::AssumeRole, false, "PackedPolicyTooLarge", "Serialized token too large for session", "shorter"),
            (Operation::GetId, false, "ResourceConflictException", "whatever it says", "at once"),
        ];
        for (operation, guest, code, message, word) in table {
            let found = hint(operation, guest, code, message);
            assert!(found.is_some_and(|hint| hint.contains(word)), "{operation:?} {code} {message}: {found:?}");
        }
    }

    #[test]
    fn the_operator_finds_every_text_and_hint_in_the_documentation() {
        let page = include_str!("../../docs/operations.md");
        for (of, fragment, hint) in HINTS {
            let of = match of {
                Of::Any => "",
                Of::WebIdentity => " (AssumeRoleWithWebIdentity)",
                Of::Guest => " (for a guest)",
            };
            assert!(page.contains(&format!("| … {fragment} …{of} | {hint} |")), "{fragment} | {hint}");
        }
    }
}
