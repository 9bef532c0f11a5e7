//! Permission statements that give a user more than an application means to. Pure.

use crate::doctor::document::{Document, Statement, matches};
use crate::doctor::finding::Finding;

/// Actions by which whoever has them on all resources gets everything else, and what they open.
const ESCALATIONS: &[(&str, &str)] = &[
    ("cognito-identity:SetIdentityPoolRoles", "change which role every user of every identity pool gets"),
    ("cognito-identity:UpdateIdentityPool", "let other logins, or guests, into every identity pool"),
    ("cognito-identity:GetOpenIdTokenForDeveloperIdentity", "become any user of a pool with developer identities"),
    ("iam:AttachRolePolicy", "give any role any permission"),
    ("iam:PutRolePolicy", "give any role any permission"),
    ("iam:UpdateAssumeRolePolicy", "let anybody take on any role"),
    ("iam:PassRole", "run a service as any role"),
    ("sts:AssumeRole", "take on every role that trusts the account"),
    ("cognito-idp:AdminAddUserToGroup", "make anybody a member of any group, and so give any group's role"),
];

/// Judges a permission document, called `name`.
pub fn permissions(name: &str, document: &Document) -> Vec<Finding> {
    let mut found: Vec<_> = document.statements().filter(|one| one.allows).flat_map(|one| judge(name, one)).collect();
    if found.is_empty() {
        found.push(Finding::ok("permissions", name, "no statement is too broad"));
    }
    found
}

fn judge(name: &str, statement: &Statement) -> Vec<Finding> {
    if statement.inverted {
        let fix = "list what is allowed instead: with NotAction or NotResource, what AWS adds tomorrow is allowed too";
        return vec![Finding::warning("permissions-inverted", name, "a statement allows all but what it names", fix)];
    }
    if statement.actions.iter().any(|action| action == "*" || action == "*:*") && is_everywhere(statement) {
        let fix = "list the actions and resources that users need";
        return vec![Finding::error(
            "permissions-everything",
            name,
            "a statement allows every action on everything",
            fix,
        )];
    }
    let broad = statement.actions.iter().filter(|action| action.ends_with(":*"));
    let mut found: Vec<_> = broad.filter_map(|action| whole_service(name, action, statement)).collect();
    let wide = is_everywhere(statement);
    for (action, opens) in ESCALATIONS.iter().filter(|_| wide) {
        let exact = statement
            .actions
            .iter()
            .any(|one| !one.ends_with(":*") && matches(&one.to_ascii_lowercase(), &action.to_ascii_lowercase()));
        if exact {
            let fix = "name the resources that users need it for, or take it away";
            found.push(Finding::error(
                "permissions-escalation",
                name,
                format!("{action} on * lets users {opens}"),
                fix,
            ));
        }
    }
    found
}

/// `service:*`.
fn whole_service(name: &str, action: &str, statement: &Statement) -> Option<Finding> {
    let service = action.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let everywhere = is_everywhere(statement);
    let opens: Vec<_> = ESCALATIONS
        .iter()
        .filter(|(one, _)| one.starts_with(&format!("{service}:")))
        .map(|(_, opens)| *opens)
        .collect();
    match (service.as_str(), opens.as_slice(), everywhere) {
        ("cognito-identity", opens, true) => Some(Finding::error(
            "permissions-cognito-identity",
            name,
            format!("{action} on * lets users {}", opens.join("; ")),
            "take the statement away: GetId and GetCredentialsForIdentity are not signed, so that users need no permission for them",
        )),
        (_, [_, ..], true) => Some(Finding::error(
            "permissions-escalation",
            name,
            format!("{action} on * lets users {}", opens.join("; ")),
            "list the actions and resources that users need",
        )),
        (_, _, true) => Some(Finding::warning(
            "permissions-service",
            name,
            format!("{action} on * allows all of the service"),
            "list the actions, and name the resources; ${cognito-identity.amazonaws.com:sub} in them is the user's own",
        )),
        _ => None,
    }
}

fn is_everywhere(statement: &Statement) -> bool {
    statement.resources.iter().any(|resource| resource == "*")
}
