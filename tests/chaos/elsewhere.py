"""Points whose victim or surroundings are not a pair of databases alone: the test that holds each, and what it does."""

ELSEWHERE = {
    **{
        point: (
            "tests/integration/test_read_model_rebuild.py",
            "test_a_rebuild_killed_anywhere_goes_on_and_ends_equal",
            "a rebuild of a read model is killed, then run again",
        )
        for point in ("rebuild.before_begun", "rebuild.batch", "rebuild.before_swap", "rebuild.swapped")
    },
    "exports.read": (
        "tests/integration/test_told_to_stop.py",
        "test_an_export_stops_and_what_it_had_begun_does_not_count",
        "an export is told to stop after a piece was read, then run again",
    ),
    "replication.page": (
        "tests/integration/test_told_to_stop.py",
        "test_a_copy_of_others_data_stops_between_two_pages_and_is_learned_again",
        "a copy of others' data is told to stop between two pages, then learned anew",
    ),
    "state.chunk": (
        "tests/integration/test_read_model_rebuild.py",
        "test_history_before_the_events_comes_from_published_state",
        "a publication of state is cut off between two chunks, then run again",
    ),
    "transformation.before_commit": (
        "tests/integration/test_event_store.py",
        "test_a_copy_cut_off_goes_on_with_the_next_aggregate",
        "a copy into another type of aggregate is cut off, then run again",
    ),
    "handover.held": (
        "tests/chaos/test_killed_while_held.py",
        "test_writes_held_by_a_killed_operator_reach_the_owner_once",
        "an operator who holds writes at a live proxy is killed; cutover and its rollback, completed and undone",
    ),
    "publication.confirmed": (
        "tests/chaos/test_matrix.py",
        "test_a_relay_killed_between_the_brokers_word_and_its_own_loses_nothing",
        "a relay is killed when the broker has confirmed what it has not noted yet",
    ),
    **{
        point: (
            "tests/chaos/test_killed_workers.py",
            "test_a_kill_among_workers_redoes_at_most_one_piece_a_worker",
            "a backfill by several workers is killed between their commits",
        )
        for point in ("piece.begun", "piece.rows_written", "piece.committed")
    },
    **{
        point: (
            "tests/integration/test_removal.py",
            "test_a_removal_that_is_killed_again_and_again_is_completed_by_the_same_command",
            "the removal of the old tables is killed, then run again",
        )
        for point in ("removal.proved", "removal.dropped", "removal.service_done", "removal.routes_done")
    },
    **{
        point: (
            "tests/chaos/test_matrix.py",
            "test_copies_that_are_kept_lose_nothing_when_the_operator_dies",
            "a decommission that keeps the old tables, or its rollback, is killed, then run again or undone",
        )
        for point in ("keeping.noted", "keeping.writes_taken", "keeping.writes_given")
    },
    "lease.done": (
        "tests/chaos/test_killed_workers.py",
        "test_a_celery_worker_killed_in_a_piece_under_writes_is_followed_by_another_and_nothing_is_lost",
        "a Celery worker is killed when its piece is committed and its task not yet acknowledged",
    ),
    **{
        point: (
            "tests/races/test_retention.py",
            "test_killed_within_pruning_then_pruned_again",
            "retention is killed while it empties a leaf",
        )
        for point in ("retention.locked", "retention.truncated")
    },
    "retention.deleted": (
        "tests/races/test_retention.py",
        "test_cut_off_between_two_deletes_then_pruned_again",
        "retention is cut off (by an exception) between two deletes of ticks",
    ),
    "dead_letters.parked": (
        "tests/races/test_dead_letters.py",
        "test_a_consumer_that_dies_while_it_parks_parks_again",
        "a consumer is cut off (by an exception) when it has parked an event and not committed",
    ),
    **{
        point: (
            "tests/races/test_dead_letters.py",
            "test_kill_9_leaves_an_event_parked_or_done_never_both",
            "a replay or a skip is killed at every point that it passes",
        )
        for point in ("dead_letters.handled", "dead_letters.before_commit", "dead_letters.after_commit")
    },
    **{
        point: (
            "tests/races/test_log_interleavings.py",
            "test_a_relay_killed_with_the_log_in_its_hands_loses_nothing",
            "a relay that reads the log is killed before its tick is committed, or after it has advanced the slot",
        )
        for point in ("log.read", "log.advanced")
    },
    "log.flushed": (
        "tests/races/test_log_interleavings.py",
        "test_a_reader_that_dies_at_any_point_repeats_its_reading_and_takes_nothing_twice",
        "a relay is cut off (by an exception) when it has flushed the log",
    ),
    **{
        point: (
            "tests/races/test_log_interleavings.py",
            "test_an_installation_cut_off_anywhere_is_completed_by_the_same_call",
            "capture from the log is cut off (by an exception) while it is installed or taken off",
        )
        for point in ("log.published", "log.slot_made", "log.installed", "log.last_tick", "log.slot_dropped")
    },
    "foreign.before_commit": (
        "tests/integration/test_foreign.py",
        "test_a_stream_redelivered_from_random_places_ends_as_its_source",
        "a foreign feed is cut off (by an exception) before its commit, and everything is sent again",
    ),
    "foreign.after_commit": (
        "tests/integration/test_foreign.py",
        "test_a_streams_life_of_a_row_with_tombstone_heartbeat_and_repetition",
        "a foreign feed is cut off (by an exception) between its commit and its answer",
    ),
    "tail.handed_out": (
        "tests/integration/test_changes.py",
        "test_a_tail_killed_before_it_acknowledges_repeats_and_nothing_is_applied_twice",
        "what writes Debezium's events is cut off (by an exception) before it acknowledges them",
    ),
    **{
        f"sharding.{point}": (
            "tests/sharding/test_moving.py",
            "test_a_move_killed_anywhere_is_gone_on_with_by_the_same_command",
            "a move of buckets is cut off (by an exception), then run again",
        )
        for point in ("begun", "copied", "drained", "closed", "opened", "published")
    },
    **{
        f"sharding.key_{point}": (
            "tests/sharding/test_relocating.py",
            "test_a_relocation_killed_at_each_step_is_gone_on_with_by_the_next_process",
            "a service that moves a customer to another region is killed, then started again, under purchases",
        )
        for point in ("closed", "copied", "verified", "leaves", "left", "opened", "settled", "erased")
    },
    **{
        f"sharding.key_{point}": (
            "tests/sharding/test_relocating.py",
            "test_a_relocation_killed_on_its_way_back_leaves_the_customer_where_she_was",
            "the same, while it takes a relocation back",
        )
        for point in ("discarded", "reopened")
    },
    "sharding.split": (
        "tests/sharding/test_ranges_and_clients.py",
        "test_a_split_killed_before_the_map_knew_is_gone_on_with",
        "a split of a range is cut off (by an exception) before the map knows it",
    ),
    **{
        f"sessions.{point}": (
            "tests/races/test_moving_sessions.py",
            "test_a_move_cut_off_anywhere_is_gone_on_with_and_nobody_notices",
            "a move of sessions is cut off (by an exception), to Redis or back, then used and run again",
        )
        for point in ("rows_held", "keys_added", "key_held", "row_committed")
    },
    "exports.written": (
        "tests/integration/test_exports.py",
        "test_an_export_killed_before_its_watermark_is_repeated_and_counts_once",
        "an export is cut off (by an exception) before its watermark",
    ),
    "replication.sent": (
        "tests/integration/test_polls_and_commands.py",
        "test_a_sender_killed_after_sending_sends_again_without_a_second_effect",
        "a sender of commands is cut off (by an exception) when it has sent one",
    ),
    "completion.portion_done": (
        "tests/shapes/test_relations.py",
        "test_a_copy_cut_off_before_its_references_are_put_in_goes_on",
        "a backfill is cut off (by an exception) while it puts in references that waited",
    ),
    **{
        f"sagas.{point}": (
            "tests/sagas/test_crash_points.py",
            "test_a_service_cut_off_at_any_point_ends_the_saga_all_the_same",
            "a service of a saga is cut off (by an exception): before its commit, the conductor and participants",
        )
        for point in (
            *("claimed", "effect_written", "answer_written", "reacted", "reaction_published"),
            *("answer_read", "state_written", "command_written", "done_here", "answer_taken"),
        )
    },
    **{
        f"sagas.{point}": (
            "tests/sagas/test_crash_points.py",
            "test_a_runner_cut_off_at_any_point_leaves_the_saga_to_the_next_one",
            "the runner of sagas is cut off (by an exception) before and after its commit",
        )
        for point in ("due_read", "woken", "wake_committed")
    },
    **{
        f"sagas.{point}": (
            "tests/sagas/test_processes.py",
            "test_an_operators_wish_cut_off_is_done_or_not_at_all",
            "strangle_sagas retry is killed before and after its commit",
        )
        for point in ("wish_noted", "wish_committed")
    },
    "sagas.started": (
        "tests/sagas/test_processes.py",
        "test_a_conductor_killed_as_it_begins_has_begun_nothing",
        "the conductor is killed when a saga is begun and not committed",
    ),
    **{
        point: (
            "tests/integration/test_replicas.py",
            "test_a_copy_killed_at_a_point_goes_on_where_it_stopped",
            "the copy of a replica is killed between its effect and its memory",
        )
        for point in ("replica.chunk_written", "replica.chunk_remembered")
    },
    **{
        point: (
            "tests/integration/test_replicas.py",
            "test_a_sync_killed_between_effect_and_position_does_the_batch_again",
            "the sync of a replica is killed between its effect and its position",
        )
        for point in ("replica.rows_written", "replica.position_written")
    },
}
