//! The table: each row of the threat model, and the test that holds it. A row whose test is gone, or was given another
//! name, is found missing here, and so is one whose test does not end with what has to be true after an attack.

use std::fs;
use std::path::Path;

/// A row, the file of its test below the crate's root, and the test's name.
const ROWS: [(&str, &str, &str); 65] = [
    ("A1 no algorithm", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A2 the public key as a secret", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A3 other algorithms, psychic signatures", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A4 a key that the token brings", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A5 odd key ids", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    (
        "A6 unknown keys by the thousand",
        "tests/it/attacks/floods.rs",
        "unknown_keys_by_the_thousand_fetch_next_to_nothing",
    ),
    ("A7 extensions", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A8 encrypted tokens", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A9 other spellings", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A10 a key twice", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A11 times that are none", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A12 other issuers", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A13 other audiences and uses", "tests/it/attacks/tokens.rs", "no_bad_token_passes_a_door"),
    ("A14 another pool's key of the same name", "tests/it/attacks/pools.rs", "keys_are_their_own_pools_alone"),
    ("A15 bad keys in a key set", "tests/it/attacks/pools.rs", "bad_keys_in_a_key_set_are_left_out"),
    ("A16 large tokens", "tests/it/attacks/tokens.rs", "what_is_too_large_is_not_looked_at"),
    ("A17 one bit after a hit", "tests/it/attacks/tokens.rs", "a_remembered_token_has_no_neighbours"),
    ("A18 names that look alike", "tests/it/attacks/pools.rs", "whose_names_look_alike_are_apart"),
    ("A19 tokens of the future", "tests/it/attacks/tokens.rs", "what_is_policy_and_no_fault_is_taken"),
    (
        "A20 bad signatures by the thousand",
        "tests/it/attacks/floods.rs",
        "a_peer_whose_tokens_fail_is_limited_and_nobody_else",
    ),
    ("A21 other names", "tests/it/attacks/heads.rs", "only_its_own_names_open_the_door"),
    ("A22 browsers", "tests/it/attacks/heads.rs", "browsers_and_proxies_are_sent_away"),
    ("A23 preflights", "tests/it/attacks/heads.rs", "browsers_and_proxies_are_sent_away"),
    ("A24 forwarding headers", "tests/it/attacks/heads.rs", "browsers_and_proxies_are_sent_away"),
    ("A25 forged requests", "tests/it/attacks/heads.rs", "a_forged_request_without_a_token_learns_nothing"),
    ("A26 other methods and protocols", "tests/it/attacks/heads.rs", "a_forged_request_without_a_token_learns_nothing"),
    (
        "A27 other places and forms of the token",
        "tests/it/attacks/heads.rs",
        "a_token_counts_in_one_place_and_one_form",
    ),
    ("A28 odd paths", "tests/it/attacks/paths.rs", "a_path_is_one_of_ours_or_none"),
    ("A29 two readings of one request", "tests/it/attacks/readings.rs", "no_request_has_two_readings"),
    ("A30 too much", "tests/it/attacks/heads.rs", "what_is_too_much_is_cut_off"),
    ("A31 answers of others", "tests/it/attacks/crossed.rs", "a_hundred_thousand_answers_and_each_is_its_askers_own"),
    ("A32 caches between", "tests/it/attacks/heads.rs", "an_answer_is_whole_whatever_is_asked_of_it"),
    ("A33 callers from elsewhere", "tests/it/attacks/surroundings.rs", "callers_from_elsewhere_are_not_heard"),
    ("A34 time as a measure", "tests/it/attacks/constant.rs", "how_much_of_a_wrong_secret_is_right_cannot_be_measured"),
    ("A35 rapid resets", "tests/it/attacks/frames.rs", "who_opens_and_resets_is_told_to_calm_down"),
    ("A36 floods of frames", "tests/it/attacks/frames.rs", "floods_of_frames_end_the_connection"),
    ("A37 headers that grow", "tests/it/attacks/frames.rs", "headers_that_grow_are_refused"),
    ("A38 large and packed messages", "tests/it/attacks/messages.rs", "a_message_is_bounded_and_plain"),
    ("A39 many streams, streams without end", "tests/it/attacks/frames.rs", "streams_are_few_and_do_not_last"),
    ("A40 messages that are none", "tests/it/attacks/messages.rs", "a_message_that_is_none_is_refused"),
    ("A41 other protocols", "tests/it/attacks/slow.rs", "who_speaks_something_else_is_sent_away"),
    ("A42 other services", "tests/it/attacks/messages.rs", "nothing_else_is_served"),
    ("A43 forged roles", "tests/it/attacks/tenants.rs", "a_role_comes_from_signed_claims_and_from_nowhere_else"),
    ("A44 odd roles", "tests/it/attacks/tenants.rs", "a_role_comes_from_signed_claims_and_from_nowhere_else"),
    ("A45 nobody as somebody", "tests/it/attacks/tenants.rs", "nobody_is_made_a_guest"),
    ("A46 roles that trust too many", "tests/it/attacks/surroundings.rs", "a_role_that_trusts_too_many_is_found"),
    ("A47 session names of users' choice", "tests/it/attacks/surroundings.rs", "no_user_chooses_a_session_name"),
    ("A48 many tokens of one user", "tests/it/attacks/tenants.rs", "many_tokens_of_one_user_are_one_user"),
    (
        "A49 a tenant that asks too much",
        "tests/it/attacks/floods.rs",
        "a_tenant_that_asks_too_much_is_limited_and_nobody_else",
    ),
    ("A50 one user in two pools", "tests/it/attacks/pools.rs", "whose_names_look_alike_are_apart"),
    ("A51 another identity's answer", "tests/it/attacks/surroundings.rs", "an_answer_for_another_identity_is_nobodys"),
    ("A52 a user who is gone", "tests/it/attacks/surroundings.rs", "what_is_purged_stays_away_whatever_is_on_its_way"),
    (
        "A53 other users at the socket",
        "tests/it/doors_socket.rs",
        "who_is_not_listed_is_refused_until_a_reload_lists_them",
    ),
    (
        "A54 another process under the same id",
        "tests/it/doors_socket.rs",
        "the_brokers_own_user_is_served_and_named_in_the_audit_log",
    ),
    ("A55 memory from outside", "tests/it/confined.rs", "a_crash_leaves_no_core_and_other_calls_are_refused"),
    ("A56 secrets in what is said", "tests/it/leaks.rs", "no_secret_is_logged_counted_written_or_echoed"),
    ("A57 secrets after their end", "tests/system/heap.rs", "what_is_purged_leaves_the_memory"),
    ("A58 log injection", "tests/it/attacks/tenants.rs", "what_users_choose_stays_one_line_and_no_series"),
    ("A59 series of users' choice", "tests/it/attacks/tenants.rs", "what_users_choose_stays_one_line_and_no_series"),
    ("A60 a hostile environment", "tests/it/attacks/surroundings.rs", "the_environment_decides_nothing"),
    ("A61 a hostile configuration", "tests/it/attacks/surroundings.rs", "a_hostile_configuration_changes_nothing"),
    ("A62 redirects of AWS", "tests/it/attacks/surroundings.rs", "odd_answers_of_aws_are_given_up"),
    ("A63 odd answers of AWS", "tests/it/attacks/surroundings.rs", "odd_answers_of_aws_are_given_up"),
    ("A64 bad dependencies", "deny.toml", ""),
    ("A65 a bare container", "tests/system/least.rs", "it_serves_as_nobody_on_a_read_only_root_without_a_capability"),
];

/// Rows that no running program can be asked about, or that end it; with the reason.
const APART: [(&str, &str); 5] = [
    ("A55", "it ends with the death of the program"),
    ("A56", "every level of the log is another program, whose log is complete when it has ended"),
    ("A57", "root reads the memory: the system suite"),
    ("A64", "a linter of the sources"),
    ("A65", "root makes the container: the system suite"),
];

#[test]
fn every_row_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (number, (row, file, test)) in ROWS.iter().enumerate() {
        let id = row.split(' ').next().unwrap();
        assert_eq!(id, format!("A{}", number + 1), "each row once, in order");
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{row}: {file}: {error}"));
        assert!(text.contains(&format!("fn {test}(")) || test.is_empty(), "{row}: {file} has no test {test}");
        let attributes = text.split(&format!("fn {test}(")).next().unwrap().lines().rev().take(4);
        let runs = attributes.clone().any(|line| line.contains("test]") || line.contains("#[tokio::test"));
        assert!(runs || test.is_empty(), "{row}: {file}: {test} is no test");
        assert!(!attributes.clone().any(|line| line.contains("#[ignore")), "{row}: {file}: {test} is not run");
        let body = text.split(&format!("fn {test}(")).nth(1).and_then(|rest| rest.split("\n}\n").next());
        // Within the body, or within what it hands the ground to.
        let endings = ["ground.after".to_owned(), format!("run(&mut ground, \"{id}\"")];
        let is_judged = body.is_some_and(|body| endings.iter().any(|ending| body.contains(ending)))
            || text.contains(&format!("after(\"{id}\""));
        let is_apart = APART.iter().any(|(apart, _)| *apart == id);
        assert!(is_judged != is_apart, "{row}: {file}: {test} says nothing of what has to be true afterwards");
        let is_named = text.contains(&format!("\"{id}"))
            || text.contains(&format!("({id}"))
            || text.contains(&format!("{id})"))
            || text.contains(&format!("{id} "));
        assert!(is_apart || is_named, "{row}: {file} does not name it");
    }
    println!(
        "{} rows, {} of them judged by calls to AWS, memory and the next good request",
        ROWS.len(),
        ROWS.len() - APART.len()
    );
}
