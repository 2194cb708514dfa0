{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* What selects the pods of policyd; never changed, since a Deployment's selector can't be. */}}
{{- define "tabard.selector" -}}
app.kubernetes.io/name: tabard
app.kubernetes.io/component: policyd
{{- end }}

{{/* The labels of every object. */}}
{{- define "tabard.labels" -}}
{{ include "tabard.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tabard
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tabard.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end }}
