//! Credentials proven by use: whose signature is taken, and whose is not.

use http::HeaderValue;

use super::*;

fn with(credentials: &Credentials, secret: Option<&str>, token: Option<&str>) -> Credentials {
    let secret = secret.unwrap_or(credentials.secret_access_key());
    let token = token.or(credentials.session_token()).map(str::to_owned);
    Credentials::new(credentials.access_key_id(), secret, token, None, "test")
}

#[test]
fn a_signature_names_its_signer() {
    let who = |request| element(&answer(request).1, "Arn").to_owned();
    assert_eq!(
        who(signed(WHO_AM_I, &session(&DENY, "alice"), NOW)),
        "arn:aws:sts::111122223333:assumed-role/rbac-users-admin-role/CognitoIdentityCredentials"
    );
    let (status, body) = answer(signed(WHO_AM_I, &session(&DENY, "bob"), NOW));
    assert_eq!(status, 200);
    assert_eq!(
        element(&body, "Arn"),
        "arn:aws:sts::111122223333:assumed-role/rbac-users-editor-role/CognitoIdentityCredentials"
    );
    assert_eq!(element(&body, "Account"), ACCOUNT_ID);
    assert!(element(&body, "UserId").ends_with(":CognitoIdentityCredentials"));
    assert!(body.starts_with("<GetCallerIdentityResponse xmlns="));
    assert_eq!(element(&body, "RequestId").len(), 36);
    assert_eq!(who(signed(WHO_AM_I, &broker(), NOW)), BROKER_ARN);
}

#[test]
fn a_get_is_signed_with_its_query() {
    let query = "/?Version=2011-06-15&Action=GetCallerIdentity";
    let request = sign_request(Method::GET, query, "", &broker(), at(NOW), REGION, "sts");
    assert_eq!(element(&answer(request).1, "Arn"), BROKER_ARN);
    let mut request = signed("", &broker(), NOW);
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/?Action=GetCallerIdentity");
    assert_eq!(refusal(request).1, "SignatureDoesNotMatch");
}

#[test]
fn unsigned_requests_are_refused() {
    for form in [WHO_AM_I, "Action=AssumeRole"] {
        let bare = || Request::post("/").body(Bytes::from_static(form.as_bytes())).expect("request");
        let message = "Request is missing Authentication Token".to_owned();
        let expected = (403, "MissingAuthenticationToken".to_owned(), message);
        assert_eq!(refusal(bare()), expected);
        let mut bearer = bare();
        bearer.headers_mut().insert("authorization", HeaderValue::from_static("Bearer x"));
        assert_eq!(refusal(bearer), expected);
        let mut half = bare();
        let value = HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request");
        half.headers_mut().insert("authorization", value);
        assert_eq!(refusal(half).1, "IncompleteSignature");
    }
}

#[test]
fn a_wrong_key_secret_or_token_is_refused() {
    let (alice, bob) = (session(&DENY, "alice"), session(&DENY, "bob"));
    let elsewhere = session(&DEFAULT, "alice");
    let invalid = "The security token included in the request is invalid.".to_owned();
    let invalid = (403, "InvalidClientTokenId".to_owned(), invalid);
    let mut damaged = alice.session_token().expect("a token").to_owned();
    damaged.replace_range(500..501, if damaged.as_bytes()[500] == b'A' { "B" } else { "A" });
    let no_token = Credentials::new(alice.access_key_id(), alice.secret_access_key(), None, None, "test");
    for credentials in [
        with(&alice, None, bob.session_token()),
        with(&alice, None, Some(&damaged)),
        with(&alice, None, Some("IQoJ")),
        with(&broker(), None, alice.session_token()),
        no_token,
        elsewhere,
        Credentials::new("AKIAUNKNOWN", "secret", None, None, "test"),
    ] {
        assert_eq!(refusal(signed(WHO_AM_I, &credentials, NOW)), invalid);
    }
    let wrong_secret = with(&alice, Some(bob.secret_access_key()), None);
    let (status, code, message) = refusal(signed(WHO_AM_I, &wrong_secret, NOW));
    assert_eq!((status, code.as_str()), (403, "SignatureDoesNotMatch"));
    assert!(message.starts_with("The request signature we calculated does not match"), "{message}");
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let alice = session(&DENY, "alice");
    let mut body = signed(WHO_AM_I, &alice, NOW);
    *body.body_mut() = Bytes::from_static(b"Action=AssumeRole");
    let mut path = signed(WHO_AM_I, &alice, NOW);
    *path.uri_mut() = http::Uri::from_static("/other");
    let mut host = signed(WHO_AM_I, &alice, NOW);
    host.headers_mut().insert("host", HeaderValue::from_static("elsewhere"));
    let mut date = signed(WHO_AM_I, &alice, NOW);
    let later = HeaderValue::from_str(&wire::amz_date(NOW + 1)).expect("a date");
    date.headers_mut().insert("x-amz-date", later);
    let mut method = signed(WHO_AM_I, &alice, NOW);
    *method.method_mut() = Method::PUT;
    for (request, what) in [(body, "body"), (path, "path"), (host, "host"), (date, "date"), (method, "method")] {
        assert_eq!(refusal(request).1, "SignatureDoesNotMatch", "{what}");
    }
}

#[test]
fn host_date_and_token_must_be_signed() {
    for header in ["host;", "x-amz-date;", ";x-amz-security-token"] {
        let mut request = signed(WHO_AM_I, &session(&DENY, "alice"), NOW);
        let value = request.headers()["authorization"].to_str().expect("text");
        assert!(value.contains(header), "{value}");
        let value = HeaderValue::from_str(&value.replacen(header, "", 1)).expect("a header");
        request.headers_mut().insert("authorization", value);
        assert_eq!(refusal(request).1, "SignatureDoesNotMatch", "{header}");
    }
}

#[test]
fn stale_and_future_signatures_are_refused() {
    let alice = session(&DENY, "alice");
    let [now, old, early, new, late] = [NOW, NOW - 301, NOW - 300, NOW + 301, NOW + 300].map(wire::amz_date);
    let expired = format!("Signature expired: {old} is now earlier than {early} ({now} - 5 min.)");
    let future = format!("Signature not yet current: {new} is still later than {late} ({now} + 5 min.)");
    for (signed_at, message) in [(NOW - 301, expired), (NOW + 301, future)] {
        let expected = (403, "SignatureDoesNotMatch".to_owned(), message);
        assert_eq!(refusal(signed(WHO_AM_I, &alice, signed_at)), expected);
    }
    for signed_at in [NOW - 300, NOW + 300] {
        assert_eq!(answer(signed(WHO_AM_I, &alice, signed_at)).0, 200);
    }
}

#[test]
fn a_signature_is_for_one_region_and_service() {
    let alice = session(&DENY, "alice");
    let (_, _, message) = refusal(sign_request(Method::POST, "/", WHO_AM_I, &alice, at(NOW), "eu-west-1", "sts"));
    assert_eq!(message, "Credential should be scoped to a valid region, not 'eu-west-1'. ");
    let (_, _, message) = refusal(sign_request(Method::POST, "/", WHO_AM_I, &alice, at(NOW), REGION, "s3"));
    assert_eq!(message, "Credential should be scoped to correct service: 'sts'. ");
}

#[test]
fn a_scope_is_of_the_day_of_its_request() {
    let mut request = signed(WHO_AM_I, &broker(), NOW);
    let day = wire::amz_date(NOW)[..8].to_owned();
    let value = request.headers()["authorization"].to_str().expect("text");
    let value = HeaderValue::from_str(&value.replacen(&day, "20150830", 1)).expect("a header");
    request.headers_mut().insert("authorization", value);
    let message = format!(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150830' != \
         '{day}', from '{}'.",
        wire::amz_date(NOW)
    );
    assert_eq!(refusal(request), (403, "SignatureDoesNotMatch".to_owned(), message));
}

#[test]
fn credentials_expire_at_their_second() {
    let alice = session(&DENY, "alice");
    let at_second = |seconds| text(DENY.answer(signed(WHO_AM_I, &alice, seconds), at(seconds)));
    assert_eq!(at_second(NOW + 3599).0, StatusCode::OK);
    let (status, body) = at_second(NOW + 3600);
    assert_eq!((status, element(&body, "Code")), (StatusCode::FORBIDDEN, "ExpiredToken"));
    assert_eq!(element(&body, "Message"), "The security token included in the request is expired");
}
