{{/* What the operator may do where it looks after BirbNests, each rule with its reason. No rule has a wildcard. Children are
     watched by their metadata, and got one by one when something of them has changed. */}}
{{- define "birbnest-operator.rules" -}}
# Follow every BirbNest, and put on and take off the finalizer.
- apiGroups: [birbnest.dev]
  resources: [birbnests]
  verbs: [list, watch, patch]
# Report what is there.
- apiGroups: [birbnest.dev]
  resources: [birbnests/status]
  verbs: [patch]
# Name a BirbNest as the owner of its children, where the cluster asks for this permission.
- apiGroups: [birbnest.dev]
  resources: [birbnests/finalizers]
  verbs: [update]
# Tell what was decided, and why.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# The configuration, the identity and the addresses of the pods.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
# Read the Secrets that a BirbNest names, and keep the passwords of managed backends and API keys. Never listed, never watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# API and workers.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Say how many workers there are, and nothing else of them.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# The managed backends.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# The migrations, before the pods that need them. Created and never changed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Drains of nodes leave pods that serve.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Lead clients outside the cluster to the API.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# Who may open connections to the pods.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# What Prometheus collects and alerts on, where its operator is installed.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# API pods by CPU; see which autoscaler of somebody else's scales what the operator does.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
# Say in the status why a pod or a migration does not run; see that the last one of a nest that is deleted has ended.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# See that a namespace is being deleted: a nest that waits in it could not be wound up, and would hold it.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Remove the data of managed backends, when deletionPolicy is Delete.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, delete]
{{- end }}
