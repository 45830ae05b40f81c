//! The Kubernetes manifests: whole, in agreement with each other and with the relay.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{content, is_ours, list, load, number, root, text, yaml, yaml_one};

const FOLDER: &str = "deploy/kubernetes";

fn deployment() -> Value {
    yaml_one("deploy/kubernetes/deployment.yaml")
}

fn container() -> Value {
    let deployment = deployment();
    let containers = list(&deployment, "/spec/template/spec/containers");
    assert_eq!(containers.len(), 1);
    containers[0].clone()
}

/// Every manifest, with the file it stands in.
fn manifests() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for folder in [FOLDER, "deploy/kubernetes/optional"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".yaml") {
                let path = format!("{folder}/{name}");
                let documents = yaml(&path);
                found.extend(
                    documents
                        .into_iter()
                        .map(|document| (path.clone(), document)),
                );
            }
        }
    }
    assert!(found.len() >= 10);
    found
}

#[test]
fn every_manifest_names_its_kind_and_lives_in_one_namespace() {
    for (path, manifest) in manifests() {
        assert!(!text(&manifest, "/apiVersion").is_empty(), "{path}");
        match text(&manifest, "/kind") {
            "Kustomization" => assert_eq!(text(&manifest, "/namespace"), "mls-relay"),
            "Namespace" => assert_eq!(text(&manifest, "/metadata/name"), "mls-relay"),
            _ => assert_eq!(
                text(&manifest, "/metadata/namespace"),
                "mls-relay",
                "{path}"
            ),
        }
    }
}

#[test]
fn kustomize_builds_exactly_what_is_not_optional_and_holds_no_secret() {
    let kustomization = yaml_one("deploy/kubernetes/kustomization.yaml");
    let mut listed: Vec<_> = list(&kustomization, "/resources")
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let mut here: Vec<_> = std::fs::read_dir(root().join(FOLDER))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .filter(|name| !["kustomization.yaml", "secret.example.yaml"].contains(&name.as_str()))
        .collect();
    listed.sort();
    here.sort();
    assert_eq!(listed, here);
    content("kubectl", &["kustomize", FOLDER]);
}

#[test]
fn the_configuration_in_the_config_map_is_one_that_the_relay_takes() {
    let map = yaml_one("deploy/kubernetes/configmap.yaml");
    let config = load(text(&map, "/data/relay.toml")).config;
    let container = container();
    let port = |name: &str| {
        let ports = list(&container, "/ports").to_vec();
        let found = ports
            .iter()
            .find(|port| port["name"] == name)
            .unwrap()
            .clone();
        number(&found, "/containerPort")
    };
    assert_eq!(u64::from(config.edge.listen.port()), port("https"));
    assert_eq!(u64::from(config.edge.admin_listen.port()), port("admin"));
    // The file is where the image looks, and the certificate where the file says.
    let mounts: Vec<_> = list(&container, "/volumeMounts")
        .iter()
        .map(|mount| text(mount, "/mountPath").to_owned())
        .collect();
    assert!(mounts.contains(&"/etc/mls-relay".to_owned()));
    assert!(crate::read("deploy/Dockerfile").contains("\nWORKDIR /etc/mls-relay\n"));
    let key = config.edge.tls_key.unwrap();
    assert!(mounts.iter().any(|mount| key.starts_with(mount)));
    assert!(container.get("command").is_none() && container.get("args").is_none());
}

#[test]
fn probes_ask_the_admin_listener_for_paths_that_it_serves() {
    let admin = crate::read("src/edge/admin.rs");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let container = container();
        let path = text(&container, &format!("/{probe}/httpGet/path"));
        assert!(
            admin.contains(&format!("\"{path}\" =>")),
            "{probe} asks for {path}"
        );
        assert_eq!(text(&container, &format!("/{probe}/httpGet/port")), "admin");
    }
    let container = container();
    // A database that is away must not make Kubernetes kill every pod.
    assert_eq!(
        text(&container, "/livenessProbe/httpGet/path"),
        "/health/live"
    );
    assert_eq!(
        text(&container, "/readinessProbe/httpGet/path"),
        "/health/ready"
    );
}

#[test]
fn a_pod_is_given_longer_than_the_relay_takes_to_drain() {
    let map = yaml_one("deploy/kubernetes/configmap.yaml");
    let drain = load(text(&map, "/data/relay.toml"))
        .config
        .process
        .drain_grace;
    let pause = number(&container(), "/lifecycle/preStop/sleep/seconds");
    let grace = number(
        &deployment(),
        "/spec/template/spec/terminationGracePeriodSeconds",
    );
    assert!(
        grace >= pause + drain.as_secs() + 10,
        "{grace} s do not suffice"
    );
}

#[test]
fn selectors_find_the_pods() {
    let deployment = deployment();
    let labels = deployment
        .pointer("/spec/template/metadata/labels")
        .unwrap();
    let service = &yaml("deploy/kubernetes/service.yaml");
    for (what, selector) in [
        (
            "deployment",
            deployment.pointer("/spec/selector/matchLabels"),
        ),
        ("service", service[0].pointer("/spec/selector")),
        ("admin service", service[1].pointer("/spec/selector")),
        (
            "budget",
            yaml_one("deploy/kubernetes/poddisruptionbudget.yaml")
                .pointer("/spec/selector/matchLabels"),
        ),
        (
            "policy",
            yaml_one("deploy/kubernetes/networkpolicy.yaml")
                .pointer("/spec/podSelector/matchLabels"),
        ),
        (
            "spread",
            deployment.pointer(
                "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels",
            ),
        ),
        (
            "spread",
            deployment.pointer(
                "/spec/template/spec/topologySpreadConstraints/1/labelSelector/matchLabels",
            ),
        ),
    ] {
        let selector = selector.unwrap_or_else(|| panic!("{what} has no selector"));
        for (name, value) in selector.as_object().unwrap() {
            assert_eq!(labels.get(name), Some(value), "{what}");
        }
        assert!(!selector.as_object().unwrap().is_empty(), "{what}");
    }
    let scaler = yaml_one("deploy/kubernetes/optional/horizontalpodautoscaler.yaml");
    assert_eq!(
        text(&scaler, "/spec/scaleTargetRef/name"),
        text(&deployment, "/metadata/name")
    );
}

#[test]
fn one_pod_may_always_leave_and_one_always_stays() {
    let deployment = deployment();
    assert!(number(&deployment, "/spec/replicas") >= 2);
    assert_eq!(
        number(&deployment, "/spec/strategy/rollingUpdate/maxUnavailable"),
        0
    );
    let budget = yaml_one("deploy/kubernetes/poddisruptionbudget.yaml");
    assert_eq!(number(&budget, "/spec/maxUnavailable"), 1);
}

#[test]
fn pods_have_no_privilege_and_write_nothing() {
    let deployment = deployment();
    let pod = deployment.pointer("/spec/template/spec").unwrap();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        text(pod, "/securityContext/seccompProfile/type"),
        "RuntimeDefault"
    );
    // The same user as the image's, whose files it must be able to read.
    let user = number(pod, "/securityContext/runAsUser");
    assert!(crate::read("deploy/Dockerfile").contains(&format!("\nUSER {user}:{user}\n")));
    let container = container();
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        container["securityContext"]["allowPrivilegeEscalation"],
        false
    );
    assert_eq!(
        list(&container, "/securityContext/capabilities/drop"),
        ["ALL"]
    );
    assert!(!text(&container, "/resources/requests/cpu").is_empty());
    assert!(!text(&container, "/resources/limits/memory").is_empty());
}

#[test]
fn the_environment_is_the_relays_and_comes_from_the_secret() {
    let secrets = yaml("deploy/kubernetes/secret.example.yaml");
    let container = container();
    for variable in list(&container, "/env") {
        let name = text(variable, "/name");
        assert!(is_ours(name), "{name}");
        let source = variable.pointer("/valueFrom/secretKeyRef").unwrap();
        assert_eq!(text(source, "/key"), name);
        assert_eq!(source["name"], secrets[0]["metadata"]["name"]);
        let text = crate::read("deploy/kubernetes/secret.example.yaml");
        assert!(
            text.contains(&format!("{name}: postgres://")),
            "{name} is in the example"
        );
    }
    assert_eq!(text(&secrets[1], "/type"), "kubernetes.io/tls");
}

#[test]
fn the_network_policy_opens_the_two_ports_and_no_third() {
    let policy = yaml_one("deploy/kubernetes/networkpolicy.yaml");
    let ports: Vec<_> = list(&policy, "/spec/ingress")
        .iter()
        .flat_map(|rule| list(rule, "/ports"))
        .map(|port| number(port, "/port"))
        .collect();
    assert_eq!(ports, [8443, 9090]);
    // Metrics are not for everyone.
    assert!(policy.pointer("/spec/ingress/0/from").is_none());
    assert!(policy.pointer("/spec/ingress/1/from").is_some());
}

#[test]
fn the_manifests_pass_the_schemas_of_kubernetes() {
    let mut checked = 0;
    for (path, manifest) in manifests() {
        let check = match text(&manifest, "/kind") {
            "ConfigMap" => understood::<ConfigMap>,
            "Deployment" => understood::<Deployment>,
            "HorizontalPodAutoscaler" => understood::<HorizontalPodAutoscaler>,
            "Namespace" => understood::<Namespace>,
            "NetworkPolicy" => understood::<NetworkPolicy>,
            "PodDisruptionBudget" => understood::<PodDisruptionBudget>,
            "Secret" => understood::<Secret>,
            "Service" => understood::<Service>,
            // Not Kubernetes' own.
            "Kustomization" | "PrometheusRule" | "ServiceMonitor" => continue,
            other => panic!("{path}: nothing checks a {other}"),
        };
        let understood = check(&manifest).unwrap_or_else(|error| panic!("{path}: {error}"));
        let lost = lost(&manifest, &understood, "");
        assert!(lost.is_empty(), "{path}: Kubernetes knows no {lost:?}");
        checked += 1;
    }
    assert!(checked >= 8);
}

#[test]
fn the_schemas_notice_a_slip() {
    let mut manifest = deployment();
    let spec = manifest.pointer_mut("/spec/template/spec").unwrap();
    spec["terminationGracePeriodSecond"] = 45.into();
    let understood = understood::<Deployment>(&manifest).unwrap();
    let lost = lost(&manifest, &understood, "");
    assert_eq!(lost, ["/spec/template/spec/terminationGracePeriodSecond"]);
    manifest["spec"]["replicas"] = "two".into();
    assert!(self::understood::<Deployment>(&manifest).is_err());
}

/// What Kubernetes makes of a manifest of this kind.
fn understood<T>(manifest: &Value) -> serde_json::Result<Value>
where
    T: Resource + Serialize + DeserializeOwned,
{
    assert_eq!(text(manifest, "/apiVersion"), T::API_VERSION);
    serde_json::to_value(serde_json::from_value::<T>(manifest.clone())?)
}

/// The fields of a manifest that are no part of what was understood.
fn lost(manifest: &Value, understood: &Value, at: &str) -> Vec<String> {
    let inner = |(name, value): (String, &Value)| {
        let at = format!("{at}/{name}");
        let found = understood.pointer(&format!("/{}", name.replace('~', "~0").replace('/', "~1")));
        match found {
            Some(found) => lost(value, found, &at),
            // Empty is how the types say "nothing here".
            None if value.as_object().is_some_and(serde_json::Map::is_empty) => Vec::new(),
            None => vec![at],
        }
    };
    match manifest {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), value));
            fields.flat_map(inner).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, value)| (index.to_string(), value));
            items.flat_map(inner).collect()
        }
        _ => Vec::new(),
    }
}
