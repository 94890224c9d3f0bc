//! Values that are wrong.

use birbnest_e2e::cluster::story;

use super::CHARTS;

#[tokio::test]
async fn a_wrong_value_is_refused_with_its_name_and_what_may_be_there() {
    story("values", async |space| {
        let cases = [
            ("birbnest-operator", "replicas=3", ["replicas", "maximum"]),
            ("birbnest-operator", "replicas=two", ["replicas", "want integer"]),
            ("birbnest-operator", "imge.tag=1", ["imge", "not allowed"]),
            (
                "birbnest-operator",
                "image.pullPolicy=Sometimes",
                ["pullPolicy", "'IfNotPresent'"],
            ),
            (
                "birbnest-operator",
                "image.repository=",
                ["repository", "minLength"],
            ),
            (
                "birbnest-operator",
                "class=a b",
                ["class", "does not match pattern"],
            ),
            (
                "birbnest-operator",
                "watchNamespaces={shop,Shop}",
                ["watchNamespaces/1", "does not match pattern"],
            ),
            ("birbnest-operator", "log.level=loud", ["level", "'debug'"]),
            (
                "birbnest-operator",
                "resources.memory=1Gi",
                ["memory", "not allowed"],
            ),
            (
                "birbnest-operator",
                "monitoring.labels.release=1",
                ["release", "want string"],
            ),
            (
                "birbnest-operator",
                "monitoring.alerts=true",
                ["monitoring.alerts", "monitoring.serviceMonitor"],
            ),
            (
                "birbnest-operator",
                "topologySpreadConstraints=zone",
                ["topologySpreadConstraints", "want array"],
            ),
            ("birbnest-crds", "keep=false", ["keep", "not allowed"]),
        ];
        for (chart, value, parts) in cases {
            let chart = format!("{CHARTS}/{chart}");
            let ran = space.try_tool("helm", &["template", "x", &chart, "--set", value], "");
            assert!(!ran.success, "{value} is accepted");
            let complained = ran.complained;
            assert!(
                parts.iter().all(|part| complained.contains(part)),
                "{value}: {complained}"
            );
        }
    })
    .await;
}
