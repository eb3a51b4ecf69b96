//! What every backend of [`Store`] must do, written once. A backend calls `suite!` with a function that opens an empty
//! store, and what it stands on.

pub mod jobs;
pub mod leases;
pub mod logs;
pub mod queries;
pub mod records;
pub mod tasks;

use miroir_core::base::id::{IndexUid, TaskUid};
use miroir_core::write::task::{NewTask, TaskKind, TaskStatus};
use miroir_store::{Batch, Store, StoreError};
use time::{Duration, OffsetDateTime};

/// Makes one test of each rule.
macro_rules! suite {
    ($open:path: $($module:ident::{$($rule:ident),* $(,)?}),* $(,)?) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let (store, _kept_until_the_end) = $open().await;
                crate::conformance::$module::$rule(store).await;
            }
        )*)*
    };
    ($open:path) => {
        suite! { $open:
            records::{
                a_record_is_read_as_written,
                versions_rise_even_when_a_record_is_written_anew,
                conditions_hold_or_nothing_is_written,
                a_later_write_of_a_batch_sees_an_earlier_one,
                an_expired_record_is_gone,
                tables_are_apart_and_listed_by_key,
                a_broken_record_is_an_error_that_names_it,
                one_of_many_compare_and_set_wins_each_round,
            },
            tasks::{
                numbers_begin_at_zero_and_are_consecutive,
                a_conflict_registers_no_task_and_uses_up_no_number,
                concurrent_committers_get_unique_rising_numbers,
                a_final_task_is_never_unfinished_again,
                unfinished_tasks_come_oldest_first_in_pages,
                pruning_forgets_the_oldest_final_tasks_only,
                numbers_are_not_given_again_after_pruning,
                details_stay_the_text_they_were,
                tasks_follow_the_names_of_their_indexes,
                a_task_settled_from_an_old_copy_keeps_its_new_name,
                a_closed_store_says_so,
            },
            leases::{
                a_scope_has_one_holder,
                a_released_lease_is_free,
                a_lease_that_is_not_renewed_ends,
                a_renewed_lease_stays,
                who_takes_over_a_lease_is_told_that_nobody_gave_it_back,
                a_stale_token_writes_nothing,
                a_token_is_its_holders_alone,
                one_of_many_wins_a_lease,
            },
            jobs::{
                a_job_is_there_with_what_it_was_committed_with,
                every_chunk_is_there_once_though_a_claimant_vanishes,
                two_jobs_take_turns,
                one_of_many_claims_a_job,
                a_lost_claim_writes_nothing,
                a_claim_with_a_heartbeat_stays,
                a_job_that_is_put_off_waits,
                ended_jobs_are_kept_but_not_for_ever,
                a_job_that_ends_its_claimants_fails,
                what_is_too_much_is_refused,
            },
            logs::{
                counters_move_forward,
                a_forgotten_counter_begins_anew,
                a_log_is_read_from_any_position,
                a_trimmed_log_goes_on_where_it_was,
                watchers_are_told_what_was_committed,
                a_mark_is_told_after_what_was_committed_before,
                a_slow_watcher_is_told_to_read_everything,
            },
            queries::{
                pages_follow_one_another_in_both_directions,
                a_page_of_many_indexes_is_in_order,
                listings_of_many_tasks_agree_with_the_definition,
            },
        }
    };
}

/// A moment of the tests' own.
pub fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(1_700_000_000 + second)
}

/// A task that waits.
pub fn waiting(index: Option<&str>, second: i64) -> NewTask {
    let index: Option<IndexUid> = index.map(|index| index.parse().expect("an index uid"));
    NewTask {
        index_uid: index.clone(),
        physical: index,
        ..NewTask::new(TaskKind::DocumentAdditionOrUpdate, at(second))
    }
}

/// A task that ended.
pub fn done(index: Option<&str>, second: i64) -> NewTask {
    let (started_at, finished_at) = (Some(at(second)), Some(at(second + 1)));
    NewTask { status: TaskStatus::Succeeded, started_at, finished_at, ..waiting(index, second) }
}

/// Register tasks; returns their numbers.
pub async fn register(store: &dyn Store, new_tasks: Vec<NewTask>) -> Result<Vec<TaskUid>, StoreError> {
    Ok(store.commit(Batch { new_tasks, ..Batch::default() }).await?.tasks)
}
