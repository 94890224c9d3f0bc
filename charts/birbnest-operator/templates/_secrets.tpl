{{/* CEL: the Secrets that a BirbNest has given to its pods, each with the field that does so and the key. Those that the
     operator makes count for an image of the nest's own: one of that name may be there since before, of somebody else. Those of
     imagePullSecrets and of an Ingress are not among them, as no pod of a nest sees their content. */}}
{{- define "birbnest-operator.secretsOf" -}}
[
  {{- range list "redis.urlFrom" "nats.urlFrom" "postgres.urlFrom" "postgres.ownerUrlFrom" }}
  ?{{ $ }}.?spec.{{ . }}.secretKeyRef.optMap(one, {'field': 'spec.{{ . }}', 'secret': string(one.name), 'key': string(one.key)}),
  {{- end }}
  {{- range list "api.tls" "api.auth.apiKeys" }}
  ?{{ $ }}.?spec.{{ . }}.secretName.optMap(name, {'field': 'spec.{{ . }}.secretName', 'secret': string(name), 'key': ''}),
  {{- end }}
] + {{ . }}.?spec.pod.env.orValue([])
  .filter(variable, has(variable.valueFrom) && has(variable.valueFrom.secretKeyRef))
  .map(variable, {
    'field': 'spec.pod.env[' + variable.name + ']',
    'secret': string(variable.valueFrom.secretKeyRef.name),
    'key': string(variable.valueFrom.secretKeyRef.key),
  })
+ ['credentials', 'api-keys'].filter(made, {{ . }}.?spec.pod.image.hasValue() && (made == 'api-keys'
    ? {{ . }}.?spec.api.auth.apiKeys.hasValue() && !{{ . }}.?spec.api.auth.apiKeys.secretName.hasValue()
    : {{ range $index, $backend := list "redis" "nats" "postgres" }}{{ if $index }} || {{ end }}{{ $ }}.?spec.{{ $backend }}.managed.hasValue(){{ end }}))
  .map(made, {'field': 'spec.pod.image', 'secret': string({{ . }}.metadata.name) + '-' + made, 'key': ''})
{{- end }}
