//! An API or worker process of a house.

use std::process::ExitStatus;

use reqwest::Method;

use crate::{
    client::{Answer, ApiClient},
    servers::Process,
    wait::{eventually, seen},
};

/// A process of the house and a client of what it serves.
#[derive(Debug)]
pub struct Member {
    process: Process,
    /// A client of its address.
    pub client: ApiClient,
}

impl Member {
    pub(super) fn new(process: Process, client: ApiClient) -> Self {
        Self { process, client }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) {
        self.process.start();
        self.until_ready().await;
    }

    /// Waits until `/readyz` says so.
    pub async fn until_ready(&self) {
        eventually(&format!("{} is ready", self.process.name()), || async {
            self.process.assert_running();
            let answer = self.client.request(Method::GET, "/readyz").try_send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            seen(answer, |answer| answer.status.is_success())
        })
        .await;
    }

    /// Asks it to end and returns how it did.
    pub async fn stop(&self) -> ExitStatus {
        self.process.stop().await
    }

    /// Kills it.
    pub fn kill9(&self) {
        self.process.kill9();
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Host and port, for a bare connection.
    pub fn address(&self) -> String {
        let base = self.client.base().trim_end_matches('/');
        base.split_once("://")
            .map_or(base, |(_, address)| address)
            .to_owned()
    }

    /// What `/health` says.
    pub async fn health(&self) -> Answer {
        self.client.request(Method::GET, "/health").send().await
    }

    /// Whether it says of a backend that it reaches it; for [`eventually`].
    ///
    /// # Errors
    /// When it does not.
    pub async fn reaches(&self, backend: &str) -> Result<Answer, String> {
        seen(self.health().await, |health| {
            health.member("checks")[backend] == "healthy"
        })
    }

    /// The sum of a metric over its labels, 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self
            .client
            .request(Method::GET, "/metrics")
            .send()
            .await
            .expect(200)
            .text;
        sum_of(&text, name)
    }
}

/// The sum over the labels of one metric in Prometheus' text format; `name` may end with one label set.
pub fn sum_of(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = if rest.starts_with('{') {
            rest.rsplit_once("} ")?.1
        } else {
            rest.strip_prefix(' ')?
        };
        value.split(' ').next()?.parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::sum_of;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_taken_for_another() {
        let text =
            "# TYPE rows counter\nrows_total{partition=\"0\"} 3\nrows_total{partition=\"1\"} 4\nrows 9\n";
        assert!((sum_of(text, "rows_total") - 7.0).abs() < f64::EPSILON);
        assert!((sum_of(text, "rows_total{partition=\"1\"}") - 4.0).abs() < f64::EPSILON);
        assert!((sum_of(text, "rows") - 9.0).abs() < f64::EPSILON);
    }
}
