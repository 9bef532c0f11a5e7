//! Whether a role trusts those who have to take it on, and nobody else. Pure.

use crate::doctor::document::{Condition, Document, Statement, matches};
use crate::doctor::finding::Finding;
use crate::doctor::needs::{BrokerNeeds, Needs, service};

/// Judges the trust policy of `role`. `broker` is the ARN of the broker's own user or role, where it is known.
pub fn trust(role: &str, document: &Document, needs: &Needs, broker: Option<&str>) -> Vec<Finding> {
    let mut found: Vec<_> = anybody(role, document).into_iter().collect();
    for pool in &needs.pools {
        found.extend(pool_users(role, document, pool));
    }
    if let Some(own) = &needs.broker {
        found.extend(own_identity(role, document, own, broker));
    }
    if ["sts:AssumeRole", WEB_IDENTITY].iter().any(|action| document.denies(action)) {
        let fix = "read it by hand: a Deny goes before every Allow";
        found.push(Finding::warning("trust-deny", role, "the trust policy has a Deny, which is not judged here", fix));
    }
    found
}

const WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

/// A role that anybody may take on.
fn anybody(role: &str, document: &Document) -> Option<Finding> {
    let open = document.statements().any(|statement| {
        statement.allows && statement.conditions.is_empty() && statement.principals.iter().any(|(_, who)| who == "*")
    });
    let fix = "name the principals: `cupbearer policy` prints the statement";
    open.then(|| Finding::error("trust-anybody", role, "a statement without condition trusts every AWS account", fix))
}

/// Whether users of `pool`, and of no other, may take the role on.
fn pool_users(role: &str, document: &Document, pool: &str) -> Vec<Finding> {
    let service = service(pool);
    let federated = |statement: &&Statement| statement.principals.iter().any(|(kind, _)| kind == "Federated");
    let paste = "`cupbearer policy` prints the statement that is needed";
    let candidates: Vec<_> = document.allowing(WEB_IDENTITY).filter(federated).collect();
    if candidates.is_empty() {
        let other = document.statements().find(|statement| statement.allows && federated(statement));
        let text = match other {
            Some(other) => format!("users are allowed {}, and need {WEB_IDENTITY}", other.actions.join(", ")),
            None => format!("no statement allows {WEB_IDENTITY} to an identity pool's users"),
        };
        return vec![Finding::error("trust-action", role, text, paste)];
    }
    let ours: Vec<_> = candidates.iter().filter(|one| one.principals.iter().any(|(_, who)| who == service)).collect();
    let Some(best) = ours.iter().find(|one| audience(one, service, pool) == Audience::Ours).or(ours.first()) else {
        let told: Vec<_> = candidates.iter().flat_map(|one| &one.principals).map(|(_, who)| who.as_str()).collect();
        let text = format!("the federated principal is {}; in this partition it is {service}", told.join(", "));
        return vec![Finding::error("trust-principal", role, text, paste)];
    };
    let mut found: Vec<_> = audience_finding(role, audience(best, service, pool), service, pool).into_iter().collect();
    found.extend(methods_finding(role, best, service));
    found.extend(others(role, best, &[&format!("{service}:aud"), &format!("{service}:amr")]));
    // What another statement opens is open.
    let wide = ours.iter().any(|one| matches!(audience(one, service, pool), Audience::Unbound | Audience::Wide));
    if wide && found.iter().all(|finding| finding.check != "trust-audience") {
        found.extend(audience_finding(role, Audience::Unbound, service, pool));
    }
    if found.is_empty() {
        found.push(Finding::ok("trust-users", role, format!("users of {pool} may take it on, and no guests")));
    }
    found
}

/// What the condition on `aud` comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Ours,
    Other,
    /// Ours, and many more.
    Wide,
    Unbound,
}

fn audience(statement: &Statement, service: &str, pool: &str) -> Audience {
    let key = format!("{service}:aud");
    let bound: Vec<_> = statement.on(&key).filter(|condition| condition.admits(pool).is_some()).collect();
    match bound.as_slice() {
        [] => Audience::Unbound,
        all if all.iter().any(|one| one.admits(pool) == Some(false)) => Audience::Other,
        all if all.iter().all(|one| one.admits("us-east-1:00000000-0000-0000-0000-000000000000") == Some(true)) => {
            Audience::Wide
        }
        _ => Audience::Ours,
    }
}

fn audience_finding(role: &str, audience: Audience, service: &str, pool: &str) -> Option<Finding> {
    let fix = format!("put \"StringEquals\": {{\"{service}:aud\": \"{pool}\"}} into its Condition");
    let text = match audience {
        Audience::Ours => return None,
        Audience::Other => format!("the condition on {service}:aud names another identity pool"),
        Audience::Wide | Audience::Unbound => {
            format!("no condition binds {service}:aud: users of every identity pool, of any account, may take it on")
        }
    };
    Some(Finding::error("trust-audience", role, text, fix))
}

/// Whether those who have signed in may take the role on, and guests may not.
fn methods_finding(role: &str, statement: &Statement, service: &str) -> Option<Finding> {
    let key = format!("{service}:amr");
    let fix = format!("put \"ForAnyValue:StringLike\": {{\"{key}\": \"authenticated\"}} into its Condition");
    let bound: Vec<&Condition> = statement.on(&key).collect();
    let admits = |method: &str| bound.iter().all(|one| one.admits(method) == Some(true));
    if bound.is_empty() {
        let text = format!("no condition binds {key}: the pool's guests may take it on, if it has any");
        return Some(Finding::error("trust-amr", role, text, fix));
    }
    if admits("unauthenticated") {
        return Some(match admits("authenticated") {
            true => Finding::error("trust-amr", role, format!("{key} admits guests as well as users"), fix),
            false => Finding::error("trust-amr", role, format!("{key} admits guests alone: users are refused"), fix),
        });
    }
    let by_provider = bound.iter().flat_map(|one| &one.values).any(|value| value.contains("cognito-idp"));
    if !admits("authenticated") && !by_provider {
        return Some(Finding::error("trust-amr", role, format!("{key} does not admit users who have signed in"), fix));
    }
    None
}

/// Whether the broker may take the role on, with all that it says.
fn own_identity(role: &str, document: &Document, needs: &BrokerNeeds, broker: Option<&str>) -> Vec<Finding> {
    let paste = "`cupbearer policy --broker-arn ARN` prints the statement that is needed";
    let trusted: Vec<_> = document.allowing("sts:AssumeRole").filter(|one| takes(one, broker)).collect();
    let Some(statement) = trusted.first() else {
        let who = broker.unwrap_or("an IAM user or role");
        return vec![Finding::error(
            "trust-broker",
            role,
            format!("no statement allows sts:AssumeRole to {who}"),
            paste,
        )];
    };
    let mut found = Vec::new();
    for (wanted, action, why) in [
        (needs.tags, "sts:TagSession", "the profile gives session_tags"),
        (needs.source_identity, "sts:SetSourceIdentity", "the profile names a source_identity"),
    ] {
        if wanted && !document.allowing(action).any(|one| takes(one, broker)) {
            found.push(Finding::error("trust-actions", role, format!("{action} is not allowed, and {why}"), paste));
        }
    }
    found.extend(external_id(role, statement, needs));
    found.extend(others(role, statement, &["sts:ExternalId"]));
    if broker.is_none() {
        let text = "whether its principal is the broker is not known";
        found.push(Finding::skipped("trust-broker", role, text, "say who the broker is: --broker-arn ARN"));
    } else if found.is_empty() {
        found.push(Finding::ok("trust-broker", role, "the broker may take it on"));
    }
    found
}

/// Whether the statement is for the broker; its whole account counts, since the broker's own policy decides then.
fn takes(statement: &Statement, broker: Option<&str>) -> bool {
    statement.principals.iter().filter(|(kind, _)| kind == "AWS" || kind == "*").any(|(_, who)| {
        let Some(broker) = broker else { return true };
        let account = broker.split(':').nth(4).unwrap_or_default();
        who == "*" || who == broker || who == account || matches("arn:*:iam::*:root", who) && who.contains(account)
    })
}

fn external_id(role: &str, statement: &Statement, needs: &BrokerNeeds) -> Option<Finding> {
    let condition = statement.on("sts:ExternalId").next();
    match condition {
        None if needs.external_ids.is_empty() => None,
        None => Some(Finding::warning(
            "trust-external-id",
            role,
            "the profile sends external_id, and the role does not ask for it",
            "put \"StringEquals\": {\"sts:ExternalId\": …} into its Condition, or leave external_id out",
        )),
        Some(condition) => {
            let refused = needs.external_ids.iter().any(|id| condition.admits(id) == Some(false));
            (refused || needs.without_external_id).then(|| {
                let text = "the role asks for another external id than the profile sends";
                Finding::error(
                    "trust-external-id",
                    role,
                    text,
                    "set profiles.*.external_id to the one that it asks for",
                )
            })
        }
    }
}

/// Conditions that nobody here can judge.
fn others(role: &str, statement: &Statement, judged: &[&str]) -> Option<Finding> {
    let unknown =
        |one: &&Condition| !judged.iter().any(|key| key.eq_ignore_ascii_case(&one.key)) || one.admits("").is_none();
    let keys: Vec<_> =
        statement.conditions.iter().filter(unknown).map(|one| format!("{} on {}", one.operator, one.key)).collect();
    let text = format!("conditions that are not judged here: {}", keys.join(", "));
    (!keys.is_empty())
        .then(|| Finding::warning("trust-conditions", role, text, "see by hand that they let the callers in"))
}
