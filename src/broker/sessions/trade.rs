//! One trade, from a session's refresh token to its newer login; and the end of a refresh token.

use std::sync::Arc;

use tracing::{debug, warn};

use crate::broker::Broker;
use crate::broker::schedule::retry_pause;
use crate::broker::sessions::renewal::{self, Renewal, Trouble};
use crate::broker::sessions::session::Session;
use crate::error::{Error, Kind};
use crate::secret::CupToken;
use crate::upstream::{Class, UserPools};

/// How often a revocation is tried.
const REVOCATIONS: u32 = 5;

/// Renews a session's login. What is got is kept first, so that a trade that fails half-way goes on from there instead
/// of trading a used refresh token again.
pub(super) async fn renew(broker: &Broker, user_pools: &dyn UserPools, session: &Arc<Session>) -> Result<(), Trouble> {
    let Some(renewal) = session.renewal() else { return Ok(()) };
    renewal.settle(|| session.begin_again()).await?;
    let token = match renewal.unused() {
        Some(token) => token,
        None => match trade(broker, user_pools, session, renewal).await? {
            Some(token) => token,
            // Another refresh token has come meanwhile: it is that one's turn.
            None => return Ok(()),
        },
    };
    let caller = match broker.verify(&token).await {
        Ok((_, verdict)) => verdict.caller,
        Err(error) if error.kind().passes_by_itself() => {
            return Err(Trouble::Later(Class::Unavailable, error.to_string()));
        }
        Err(error) => {
            renewal.doubt(broker.clock.now());
            let cause = format!("the user pool gave a token that is refused here: {error}; compare the clocks");
            return Err(Trouble::Later(Class::Invalid, cause));
        }
    };
    if !session.admits(&caller) {
        let why = Error::new(Kind::NotFound, "the refresh token is another user's than the session");
        return Err(over(session, renewal, why));
    }
    session.bring(&caller, token, broker.clock.now());
    renewal.used();
    broker.hand_on(session);
    debug!(session = &*session.id, "a session's login was renewed");
    Ok(())
}

async fn trade(
    broker: &Broker,
    user_pools: &dyn UserPools,
    session: &Session,
    renewal: &Renewal,
) -> Result<Option<CupToken>, Trouble> {
    let Some(held) = renewal.held() else { return Ok(None) };
    match user_pools.renew(&held.client, &held.refresh).await {
        Ok(tokens) => renewal.keep(&held, tokens, broker.clock.now())?,
        Err(failure) => {
            return match renewal::trouble(&failure) {
                Trouble::Over(why) => Err(over_with(session, renewal, &held, why)),
                later => Err(later),
            };
        }
    }
    renewal.settle(|| session.begin_again()).await?;
    Ok(renewal.unused())
}

/// The session ends, whatever refresh token it has.
fn over(session: &Session, renewal: &Renewal, why: Error) -> Trouble {
    match renewal.held() {
        Some(held) => over_with(session, renewal, &held, why),
        None => Trouble::Over(why),
    }
}

fn over_with(session: &Session, renewal: &Renewal, held: &renewal::Trade, why: Error) -> Trouble {
    renewal.refuse(held, || {
        warn!(session = &*session.id, client = ?held.client, %why, "a session's refresh token is of no use: it has ended");
        session.end(why.clone());
    });
    Trouble::Over(why)
}

/// Ends a closed session's refresh token.
pub(super) async fn revoke(user_pools: &dyn UserPools, session: &Session) -> Result<(), Error> {
    let Some(held) = session.renewal().and_then(Renewal::held) else { return Ok(()) };
    session.forget_refresh_token();
    for tried in 1.. {
        let Err(failure) = user_pools.revoke(&held.client, &held.refresh).await else { break };
        let kind = if failure.class == Class::Denied { Kind::UpstreamDenied } else { Kind::UpstreamUnavailable };
        if tried >= REVOCATIONS || failure.class == Class::Denied {
            warn!(%failure, tried, "a closed session's refresh token was not revoked");
            return Err(Error::new(kind, failure.to_string()).by_request(failure.request_id.as_deref()));
        }
        tokio::time::sleep(retry_pause(failure.class, tried, false, 0.0)).await;
    }
    Ok(())
}
