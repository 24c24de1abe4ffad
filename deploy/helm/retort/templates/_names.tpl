{{- define "retort.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "retort" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-retort" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selectors use: these never change in the life of a release. Called with (dict "root" $ "component" "ledger"). */}}
{{- define "retort.selector" -}}
app.kubernetes.io/name: retort
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of pods. */}}
{{- define "retort.podLabels" -}}
{{ include "retort.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: retort
{{- end -}}

{{/* Labels of every object. */}}
{{- define "retort.labels" -}}
{{ include "retort.podLabels" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "retort.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "retort.backupClaim" -}}
{{ .Values.backup.storage.existingClaim | default (printf "%s-backup" (include "retort.fullname" .)) }}
{{- end -}}

{{/* Storage class of a claim; called with the storage values. */}}
{{- define "retort.storageClass" -}}
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* A role with its defaults, as JSON: (dict "root" $ "name" "ledger"). What a role says of a map is laid over it key by key. */}}
{{- define "retort.role" -}}
{{- $role := deepCopy .root.Values.roleDefaults -}}
{{- range $key, $value := index .root.Values.roles .name -}}
{{- if and (kindIs "map" $value) (kindIs "map" (index $role $key)) -}}
{{- range $inner, $innerValue := $value -}}{{- $_ := set (index $role $key) $inner $innerValue -}}{{- end -}}
{{- else -}}
{{- $_ := set $role $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $role -}}
{{- end -}}

{{/* The enabled roles by name, as JSON. */}}
{{- define "retort.roles" -}}
{{- $roles := dict -}}
{{- range $name := keys .Values.roles -}}
{{- $role := include "retort.role" (dict "root" $ "name" $name) | fromJson -}}
{{- if $role.enabled -}}{{- $_ := set $roles $name $role -}}{{- end -}}
{{- end -}}
{{- toJson $roles -}}
{{- end -}}
