//! What can be wrong with a template, with the claims for it, and with a caller's policy. Holds names, no value.

/// Why a template cannot be used; for the one who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// `{{` without its end.
    #[error("a placeholder is not closed: write {{{{claim-name}}}}")]
    Unclosed,
    /// Between the braces is no claim's name.
    #[error(
        "a placeholder holds no claim's name: write {{{{claim-name}}}}, without spaces, quotes, backslashes and further \
         braces"
    )]
    Name,
    /// Two placeholders cannot be told apart.
    #[error(
        "between the placeholder {{{{{0}}}}} and the next one must stand a character that tells them apart: any but a \
         digit, A to F, `=` and `:`"
    )]
    Joined(String),
    /// A session name's own text has a character that is not allowed there.
    #[error("a session name may hold A to Z, a to z, 0 to 9 and any of _+,.@- (`=` only as our own escape)")]
    NameCharacter,
    /// Nothing there.
    #[error("a session name may not be empty")]
    EmptyName,
    /// A tag's own text has a character that is not allowed there.
    #[error("a session tag may hold letters, digits, spaces and any of _.:/=+-@")]
    TagCharacter,
    /// A tag's own text is too long already.
    #[error("a session tag's value may have 256 characters")]
    TagTooLong,
    /// The policy is not JSON, placeholders outside of strings included.
    #[error("not JSON (line {line}, column {column}); placeholders stand within strings only")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The policy is JSON, and no object.
    #[error("a policy is a JSON object")]
    NotAnObject,
    /// One object has the same name twice, of which only one would count.
    #[error("an object of the policy has the same name twice")]
    Twins,
    /// Without this version IAM knows no variables, and reads `${*}` as a wildcard.
    #[error("the policy must say \"Version\": \"2012-10-17\": in older ones a claim cannot be written safely")]
    Version,
    /// A placeholder where IAM knows no variables.
    #[error(
        "the placeholder {{{{{0}}}}} stands outside of Resource, NotResource and Condition, or in a name: nowhere else \
         does IAM know an escape for wildcards"
    )]
    Misplaced(String),
    /// A placeholder touches a wildcard, a variable, or another placeholder.
    #[error(
        "the placeholder {{{{{0}}}}} touches a wildcard, a variable or another placeholder, so that one value would \
         cover others: put a / between them"
    )]
    Touching(String),
    /// A placeholder within `${…}`.
    #[error("the placeholder {{{{{0}}}}} stands within a variable of IAM's (${{…}})")]
    InVariable(String),
    /// The policy's own text has a character that is not allowed there.
    #[error("a session policy may hold characters up to U+00FF")]
    PolicyCharacter,
    /// The policy's own text is too long already.
    #[error("a session policy may have 2,048 characters")]
    PolicyTooLong,
}

/// Why a caller's claims do not fit a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there, or null.
    #[error("the token has no claim {0}, which a template of the profile names: give the user that attribute")]
    Missing(String),
    /// It is neither text, boolean nor number.
    #[error("the claim {0}, which a template of the profile names, is not text, boolean or number")]
    NoText(String),
    /// It is neither text, boolean, number nor a list of texts.
    #[error("the claim {0}, which a template of the profile names, is not text, boolean, number or a list of texts")]
    NoTexts(String),
    /// It is empty where that would say nothing.
    #[error("the claim {0}, which a template of the profile names, is empty")]
    Empty(String),
    /// It may not stand in a policy.
    #[error(
        "the claim {claim}, which the profile's session policy names, holds a character that may not stand there: any of \
         {barred}, a control character, or one beyond U+00FF"
    )]
    Unsafe {
        /// The claim's name.
        claim: String,
        /// The separators that it may not hold.
        barred: String,
    },
    /// A tag would be too long, and is never cut.
    #[error("the session tag of {0} would be longer than 256 characters: take another claim, or shorten it")]
    TagTooLong(String),
    /// The policy would be too long.
    #[error("the session policy with {0} would be longer than 2,048 characters: shorten the template or the claim")]
    PolicyTooLong(String),
}

/// Why a caller's own session policy cannot be sent on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// It is not JSON.
    #[error("the session policy is not JSON (line {line}, column {column})")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is JSON, and no object.
    #[error("the session policy is not a JSON object")]
    NotAnObject,
    /// One object has the same name twice, of which only one would count.
    #[error("an object of the session policy has the same name twice")]
    Twins,
    /// It has a character that is not allowed there.
    #[error("the session policy holds a character beyond U+00FF")]
    Character,
    /// Policy and ARNs are too long together.
    #[error("the session policy and the policy ARNs have more than 2,048 characters, spaces around JSON not counted")]
    TooLong,
    /// There are too many ARNs.
    #[error("there are more than 10 policy ARNs")]
    TooManyArns,
    /// This one, counted from 1, is no managed policy's ARN.
    #[error("policy ARN {0} is not of the form arn:PARTITION:iam::ACCOUNT:policy/NAME, with aws for AWS's own")]
    Arn(usize),
}
