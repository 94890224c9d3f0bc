//! The names of a nest and its children.

use std::collections::BTreeMap;

use birbnest_crds::BirbNest;

use super::Invalid;

/// Which nest an object belongs to, and what its objects are called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NestId {
    namespace: String,
    name: String,
}

/// A part of a nest: the value of `app.kubernetes.io/component` and the end of its objects' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The HTTP service.
    Api,
    /// The drain.
    Worker,
    /// The schema migration.
    Migrate,
    /// What the data plane is told.
    Config,
    /// The managed Redis.
    Redis,
    /// The managed NATS.
    Nats,
    /// The managed PostgreSQL.
    Postgres,
    /// The account of the managed backends.
    Backends,
    /// Addresses and passwords of the managed backends.
    Credentials,
    /// What clients of the HTTP API send to be let in.
    ApiKeys,
    /// What Prometheus is told.
    Monitoring,
}

impl Component {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Migrate => "migrate",
            Self::Config => "config",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Postgres => "postgres",
            Self::Backends => "backends",
            Self::Credentials => "credentials",
            Self::ApiKeys => "api-keys",
            Self::Monitoring => "monitoring",
        }
    }
}

impl NestId {
    /// What `app.kubernetes.io/managed-by` says on every child.
    pub const MANAGER: &'static str = "birbnest-operator";

    /// The identity of a nest that the API server has.
    ///
    /// # Errors
    /// When name or namespace is missing.
    pub fn of(nest: &BirbNest) -> Result<Self, Invalid> {
        let (Some(name), Some(namespace)) = (&nest.metadata.name, &nest.metadata.namespace) else {
            return Err(Invalid::Incomplete("name or namespace"));
        };
        Ok(Self {
            namespace: namespace.clone(),
            name: name.clone(),
        })
    }

    /// The identity of the nest of that name, whether it exists or not.
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its namespace, which is that of all its children.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of a component's objects. At most 52 characters for a name of 40.
    pub fn child(&self, component: Component) -> String {
        format!("{}-{}", self.name, component.as_str())
    }

    /// The Secret with addresses and passwords of the managed backends.
    pub fn credentials(&self) -> String {
        self.child(Component::Credentials)
    }

    /// The host under which a component's Service is reached from every namespace.
    pub fn host(&self, component: Component) -> String {
        format!("{}.{}.svc", self.child(component), self.namespace)
    }

    /// What the names of its streams start with. Neither part can hold an underscore, so no two nests share it.
    pub fn stream_prefix(&self) -> String {
        format!("cache_{}_{}", self.namespace, self.name)
    }

    /// What its Redis keys start with.
    pub fn key_prefix(&self) -> String {
        format!("birb:{}/{}", self.namespace, self.name)
    }

    /// Labels of all its children.
    pub fn common_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector_of_all();
        labels.insert("app.kubernetes.io/name".to_owned(), "birbnest".to_owned());
        labels.insert("app.kubernetes.io/part-of".to_owned(), "birbnest".to_owned());
        labels
    }

    /// Labels of one component's objects.
    pub fn labels(&self, component: Component) -> BTreeMap<String, String> {
        let mut labels = self.common_labels();
        labels.insert(
            "app.kubernetes.io/component".to_owned(),
            component.as_str().to_owned(),
        );
        labels
    }

    /// Labels that select one component's pods. They can never change.
    pub fn selector(&self, component: Component) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "birbnest".to_owned()),
            ("app.kubernetes.io/instance".to_owned(), self.name.clone()),
            (
                "app.kubernetes.io/component".to_owned(),
                component.as_str().to_owned(),
            ),
        ])
    }

    /// Labels that select everything that the operator made for it.
    pub fn selector_of_all(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/instance".to_owned(), self.name.clone()),
            (
                "app.kubernetes.io/managed-by".to_owned(),
                Self::MANAGER.to_owned(),
            ),
        ])
    }
}
