//! The operator that leads, over time.

use std::time::{Duration, Instant};

use birbnest_e2e::{
    cluster::{Operator, Space},
    wait::{eventually_within, seen},
};

const VERBS: [&str; 5] = ["watch", "read", "create", "patch", "delete"];
const PATIENCE: Duration = Duration::from_mins(5);

/// The one operator that there is, once it leads.
///
/// # Panics
/// When none does in five minutes.
pub(crate) async fn leader(space: &Space) -> Operator {
    eventually_within(PATIENCE, "an operator leads", || async {
        let mut found = seen(Operator::all(space).await?, |found| found.len() == 1)?;
        let operator = found.remove(0);
        if operator.leads() {
            Ok(operator)
        } else {
            Err(format!("{} does not lead", operator.name))
        }
    })
    .await
}

/// Requests to the API server so far, by verb.
pub(crate) fn requests(operator: &Operator) -> [(&'static str, f64); VERBS.len()] {
    VERBS.map(|verb| {
        let metric = format!("birbnest_operator_api_requests_total{{verb=\"{verb}\"}}");
        (verb, operator.sum(&metric))
    })
}

/// Kills it; returns after which time another one has reconciled so many BirbNests.
///
/// # Panics
/// When none does.
pub(crate) async fn replace(operator: Operator, space: &Space, nests: u32) -> Duration {
    let began = Instant::now();
    operator.delete(space).await;
    eventually_within(PATIENCE, "every BirbNest was reconciled", || async {
        let done = leader(space).await.sum("birbnest_operator_reconciles_total");
        seen(done, |done| *done >= f64::from(nests))
    })
    .await;
    began.elapsed()
}
