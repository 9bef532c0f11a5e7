//! Why a role, or none: the decision without the exchange. Pure.

use std::collections::HashMap;

use crate::broker::profile::Profile;
use crate::error::{Error, Kind};
use crate::model::{Ask, Caller, Claims, RoleArn};
use crate::upstream::Flow;

/// A decision, laid open. Holds names of claims and configured values, never a claim's value.
#[derive(Debug)]
pub struct Explanation {
    /// Whether there would be credentials, as far as it can be told here.
    pub allowed: bool,
    /// The role, where it can be told.
    pub role: Option<RoleArn>,
    /// Why.
    pub reason: String,
    /// What was looked at, in order, and what came of it.
    pub considered: Vec<String>,
    /// Who has the last word: `cognito` in the enhanced flow, else `cupbearer`.
    pub decided_by: &'static str,
    /// The profile's way to credentials.
    pub flow: Flow,
}

/// What would become of `ask` for `caller`, whose token says `claims`.
///
/// # Errors
/// [`Kind::NotFound`] for a profile or an alias that is not there.
pub fn explain(
    profiles: &HashMap<String, Profile>,
    caller: &Caller,
    claims: &Claims,
    ask: &Ask,
) -> Result<Explanation, Error> {
    let profile = profiles.get(&ask.profile);
    let profile = profile.ok_or_else(|| Error::new(Kind::NotFound, "no profile has the asked name"))?;
    // A profile's rules are nobody's business whom it does not admit.
    let admitted = profile.admit(caller).is_ok();
    let considered = if admitted { profile.rules.explain(claims, ask.role.as_deref()).considered } else { Vec::new() };
    let flow = profile.target.flow;
    let decided_by = if flow == Flow::Enhanced { "cognito" } else { "cupbearer" };
    match profile.plan(caller, claims, ask) {
        Ok(plan) => Ok(Explanation {
            allowed: true,
            role: plan.choice.expected,
            reason: plan.choice.reason.to_string(),
            considered,
            decided_by,
            flow,
        }),
        Err(error) if error.kind() == Kind::NotFound => Err(error),
        Err(error) => {
            let reason = error.cause().to_owned();
            Ok(Explanation { allowed: false, role: None, reason, considered, decided_by, flow })
        }
    }
}
