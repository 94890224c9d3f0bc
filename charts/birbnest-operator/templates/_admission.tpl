{{/* What the admission policies look at: the resource itself, as its status, which the operator reports, asks for nothing. Every
     class is looked at, as a nest changes hands when its label does. */}}
{{- define "birbnest-operator.writesOfBirbNests" -}}
resourceRules:
  - apiGroups: [birbnest.dev]
    apiVersions: [v1alpha1]
    resources: [birbnests]
    operations: [CREATE, UPDATE]
{{- with .Values.watchNamespaces }}
namespaceSelector:
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end }}
{{- end }}
