"""What goes wrong in the systems of this field, as invariants, and the tests that prove that it does not here.

Numbers are those of the research: G for its list on gateways, B for the one on billing. A proof is
"path::test"; `tests/architecture/test_invariants.py` fails if one is gone. Where an item cannot apply yet,
`because` says why.
"""

from dataclasses import dataclass

BILLING, GATEWAY = "tests/billing/test_invariants.py", "tests/inference/gateway/test_invariants.py"
REMOTE, BUDGETS = "tests/inference/remote/test_relayed_calls.py", "tests/billing/test_budgets.py"
MACHINE = "tests/billing/test_credit_machine.py::test_credit_follows_the_model_in_any_order"


@dataclass(frozen=True)
class Invariant:
    """`says` is what always holds; `proofs` are tests, or there are none `because` of something."""

    number: str
    says: str
    proofs: tuple[str, ...] = ()
    because: str = ""


INVARIANTS = (
    Invariant(
        "G1", "Every dispatched call has exactly one terminal event, wherever its client hangs up.",
        (f"{GATEWAY}::test_exactly_one_terminal_event_for_every_dispatched_call",),
    ),
    Invariant(
        "G2", "A stream costs what the same call costs whole; without a price there is no call.",
        (
            f"{GATEWAY}::test_a_stream_costs_what_the_same_call_costs_whole",
            f"{REMOTE}::test_a_stream_costs_what_the_whole_answer_costs",
            "tests/inference/gateway/test_identity.py::test_without_a_subscription_there_is_no_call",
        ),
    ),
    Invariant(
        "G3", "No count is not a count of zero, and what we counted ourselves says so.",
        (
            f"{REMOTE}::test_a_reported_zero_is_no_report_of_an_answer_with_text",
            f"{REMOTE}::test_usage_that_is_not_reported_is_estimated_and_says_so",
        ),
    ),
    Invariant(
        "G4", "Billed output is what was made before an abort, and the words of an error are none.",
        (
            f"{GATEWAY}::test_billed_output_is_what_was_made_and_an_error_is_never_billed",
            f"{REMOTE}::test_an_error_in_mid_stream_is_worded_by_us_and_costs_nothing",
            "tests/inference/engines/text/test_lifecycle.py"
            "::test_cancelling_a_running_request_charges_what_was_generated",
        ),
    ),
    Invariant(
        "G5", "Accounting outlives the client's connection.",
        (f"{GATEWAY}::test_accounting_outlives_the_clients_patience",),
    ),
    Invariant(
        "G6", "Admission reserves the worst case atomically.",
        (
            "tests/billing/test_admission.py::test_fifty_at_once_against_an_allowance_for_ten_admit_ten",
            "tests/billing/test_admission.py::test_a_burst_through_two_web_processes_admits_ten",
            "tests/chaos/test_bursts.py::test_fifty_calls_at_once_spend_an_allowance_for_ten_exactly",
        ),
    ),
    Invariant("G7", "Counters are what the ledger says plus live holds, after any interleaving.", (MACHINE,)),
    Invariant(
        "G8", "A balance never goes below zero, whoever races whom.",
        (MACHINE, "tests/billing/test_admission.py::test_fifty_at_once_against_an_allowance_for_ten_admit_ten"),
    ),
    Invariant(
        "G9", "Wealth opens no way around a limit: a key's budget binds whatever its organisation may spend.",
        (
            f"{BUDGETS}::test_the_spend_cap_and_the_budget_bind_independently",
            f"{BUDGETS}::test_fifty_at_once_under_two_subscriptions_spend_one_budget",
        ),
    ),
    Invariant(
        "G10", "Every route that reaches a worker shares one admission.",
        (f"{GATEWAY}::test_every_route_to_a_worker_shares_one_admission",),
    ),
    Invariant(
        "G11", "Every hold settles, is released or lapses.",
        (
            "tests/billing/test_admission.py::test_a_call_that_nobody_renews_is_reaped_free_and_its_worker_told",
            "tests/inference/gateway/test_endings.py::test_a_dead_worker_fails_its_calls_soon_and_free_of_charge",
            MACHINE,
        ),
    ),
    Invariant(
        "G12", "Money and status change in one transaction, under the request's id.",
        (
            f"{BILLING}::test_usage_leaves_the_stream_only_after_its_commit",
            "tests/billing/test_meter_process.py::test_killed_before_the_commit",
            "tests/billing/test_admission.py::test_finishing_twice_counts_once",
        ),
    ),
    Invariant(
        "G13", "What is left and what is used make the allowance, after every operation.",
        (f"{BILLING}::test_what_is_left_and_what_is_used_make_the_allowance",),
    ),
    Invariant(
        "G14", "A payment's callback is verified, of its own provider, and counts once.",
        because="Payments and their webhooks are not built yet; DESIGN section 6 binds the issue that builds them.",
    ),
    Invariant(
        "G15", "A request is charged once, and reading is free.",
        (
            f"{GATEWAY}::test_reading_is_free_however_often",
            "tests/inference/gateway/test_retrying.py"
            "::test_a_retry_gets_the_same_answer_and_makes_no_second_event",
        ),
    ),
    Invariant(
        "G16", "Writers in any order neither deadlock nor lose an increment.",
        (f"{BILLING}::test_eight_meters_in_shuffled_order_lose_nothing_and_never_deadlock",),
    ),
    Invariant(
        "G17", "Usage leaves its queue only after the commit that records it.",
        (
            f"{BILLING}::test_usage_leaves_the_stream_only_after_its_commit",
            "tests/billing/test_metering.py::test_a_failed_commit_leaves_everything_on_the_stream",
        ),
    ),
    Invariant(
        "G18", "Who has the final chunk is on record, however a process is ended.",
        (
            "tests/chaos/test_storm.py"
            "::test_no_process_can_be_killed_at_a_moment_that_loses_or_doubles_usage",
            "tests/inference/worker/test_several_workers.py::test_sigterm_drops_no_call",
        ),
    ),
    Invariant(
        "G19", "Too few database connections are 503, never an authentication error.",
        (f"{GATEWAY}::test_a_database_without_room_is_never_an_auth_error",),
    ),
    Invariant(
        "G20", "What is revoked stops everywhere, and a lookup under way cannot bring it back.",
        (
            "tests/inference/gateway/test_identity.py::test_what_is_forgotten_during_a_lookup_is_not_remembered",
            "tests/inference/gateway/test_identity.py::test_what_ends_stops_the_next_call",
            "tests/journeys/test_openai_client.py::test_a_revoked_key_stops_at_once",
            "tests/inference/gateway/test_revoking.py::test_a_running_stream_ends_with_what_was_revoked",
        ),
    ),
    Invariant(
        "G21", "Calls in flight are live leases; refusals consume nothing.",
        (
            f"{GATEWAY}::test_calls_in_flight_are_live_leases_and_a_thousand_aborts_leave_none",
            f"{GATEWAY}::test_refusals_consume_nothing",
        ),
    ),
    Invariant(
        "G22", "A window is a function of time: no job resets it.",
        (
            "tests/billing/test_periods.py::test_every_moment_lies_in_its_own_period",
            "tests/billing/test_admission.py::test_a_period_that_is_over_admits_nothing",
            f"{BUDGETS}::test_a_window_is_a_function_of_time",
        ),
    ),
    Invariant(
        "G23", "Pages ask a constant number of queries, whatever there is.",
        ("tests/billing/test_api.py::test_query_counts_stay_constant",),
    ),
    Invariant(
        "G24", "Memory, keys and streams do not grow with the calls that were served.",
        (f"{GATEWAY}::test_what_calls_leave_behind_does_not_grow",),
    ),
    Invariant(
        "G25", "The worker counts; what a client asks to be told changes nothing.",
        (f"{GATEWAY}::test_the_worker_counts_whatever_the_client_asks_for",),
    ),
    Invariant(
        "G26", "Workers accept calls from the gateway alone.",
        ("tests/inference/worker/test_doors.py::test_workers_accept_calls_from_the_gateway_alone",),
    ),
    Invariant(
        "G27", "A model is up while its worker's lease lives.",
        (
            "tests/inference/worker/test_several_workers.py"
            "::test_a_killed_worker_s_lease_lapses_at_once_and_the_next_call_is_served_elsewhere",
            "tests/journeys/test_worker_death.py::test_kill_9_of_the_worker_in_mid_stream",
        ),
    ),
    Invariant(
        "G28", "A run whose client has left stops within a step.",
        (
            "tests/inference/engines/text/test_lifecycle.py::test_a_cancelled_request_gets_at_most_one_more_step",
            "tests/inference/gateway/test_endings.py"
            "::test_a_client_that_leaves_a_stream_stops_the_run_and_pays_what_was_made",
        ),
    ),
    Invariant(
        "G29", "Every package is installed by its hash.",
        (
            "tests/architecture/test_supply.py::test_every_package_is_pinned_by_its_hashes",
            "tests/architecture/test_supply.py::test_installing_insists_on_the_hashes",
        ),
    ),
    Invariant(
        "B1", "An event counts once for ever, in any order and grouping.",
        (f"{BILLING}::test_an_event_counts_once_for_ever_in_any_order_and_grouping",),
    ),
    Invariant(
        "B2", "A known event is no error, and its batch is recorded.",
        (f"{BILLING}::test_a_known_event_is_no_error_and_its_batch_is_recorded",),
    ),
    Invariant(
        "B3", "The gateway mints the id of a call, and a retry under one key is one event.",
        (
            "tests/inference/gateway/test_retrying.py"
            "::test_a_retry_gets_the_same_answer_and_makes_no_second_event",
            "tests/inference/gateway/test_retrying.py"
            "::test_a_client_that_lost_its_patience_finds_the_answer_when_it_retries",
        ),
    ),
    Invariant(
        "B4", "The mark of a known event and its row are one commit.",
        (
            "tests/billing/test_meter_process.py::test_killed_before_the_commit",
            "tests/billing/test_meter_process.py::test_killed_after_the_commit",
            "tests/billing/test_meter_process.py::test_killed_at_random_while_several_meter",
        ),
    ),
    Invariant(
        "B5", "Acknowledgement comes after the commit.",
        (f"{BILLING}::test_usage_leaves_the_stream_only_after_its_commit",),
    ),
    Invariant(
        "B6", "Settled and held never exceed a limit, at any instant.",
        (MACHINE, "tests/billing/test_admission.py::test_fifty_at_once_against_an_allowance_for_ten_admit_ten"),
    ),
    Invariant(
        "B7", "A hold has an id and a deadline, and Redis is rebuilt from Postgres.",
        (
            MACHINE,
            "tests/billing/test_leases.py::test_an_emptied_redis_lets_no_more_be_spent",
            "tests/billing/test_leases.py::test_an_older_file_lets_no_more_be_spent",
        ),
    ),
    Invariant(
        "B8", "A hold settles once, whoever else settles it.",
        (MACHINE, "tests/billing/test_admission.py::test_finishing_twice_counts_once"),
    ),
    Invariant(
        "B9", "Every money write has a key and happens once.",
        (
            f"{BILLING}::test_a_money_write_has_a_key_and_happens_once",
            "tests/billing/test_ledger.py::test_a_repeated_key_posts_once",
        ),
    ),
    Invariant(
        "B10", "What the quota covers and what is charged are disjoint, and their sum is the usage.",
        (f"{BILLING}::test_quota_and_charge_are_disjoint_and_their_sum_is_the_usage",),
    ),
)  # fmt: skip
