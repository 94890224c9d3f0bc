{{/* What every object of this chart is called. */}}
{{- define "birbnest-operator.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Cluster-wide objects carry the namespace, too: two installations must not share them. */}}
{{- define "birbnest-operator.clusterName" -}}
{{ .Release.Namespace | trunc 40 | trimSuffix "-" }}-{{ include "birbnest-operator.name" . }}
{{- end }}

{{- define "birbnest-operator.selector" -}}
app.kubernetes.io/name: birbnest-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "birbnest-operator.labels" -}}
{{ include "birbnest-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: birbnest
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "birbnest-operator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
