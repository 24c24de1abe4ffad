{{/* Configuration of the launcher of training runs: retort.server.v1.KubernetesLauncher. */}}
{{- define "retort.launcherConfig" -}}
{{- $full := include "retort.fullname" . -}}
{{- $config := dict
  "image" (include "retort.image" .)
  "run_volume" (dict "claim" (printf "%s-runs" $full) "mount_path" "/var/lib/retort/jobs/runs")
  "files" (dict "certificate" "/etc/retort/tls/tls.crt" "private_key" "/etc/retort/tls/tls.key"
    "authorities" "/etc/retort/tls/ca.crt" "signing_key" "/etc/retort/keys/trainer.key")
  "mounts" (list
    (dict "mount_path" "/etc/retort/tls" "secret" (printf "%s-trainer-tls" $full))
    (dict "mount_path" "/etc/retort/keys" "secret" (printf "%s-trainer-keys" $full)))
  "jobs" (printf "%s-jobs:%v" $full .Values.ports.grpc)
  "service_account" (printf "%s-trainer" $full)
-}}
{{- with .Values.image.pullSecrets }}{{- $_ := set $config "image_pull_secrets" . -}}{{- end -}}
{{- if .Values.gpu.enabled -}}
{{- $_ := set $config "device_resource" .Values.gpu.resource -}}
{{- with .Values.gpu.runtimeClass }}{{- $_ := set $config "runtime_class" . -}}{{- end -}}
{{- with .Values.gpu.nodeSelector }}{{- $_ := set $config "node_selector" . -}}{{- end -}}
{{- with .Values.gpu.tolerations }}{{- $_ := set $config "tolerations" . -}}{{- end -}}
{{- with .Values.gpu.sharedMemory }}{{- $_ := set $config "shared_memory" . -}}{{- end -}}
{{- end -}}
{{- if .Values.kueue.enabled -}}{{- $_ := set $config "queue" .Values.kueue.queue -}}{{- end -}}
{{- toYaml (mergeOverwrite $config .Values.training.kubernetes) -}}
{{- end -}}

{{/* Configuration of a role, retort.server.v1.ServerConfig: (dict "root" $ "name" "ledger" "role" .Values.roles.ledger) */}}
{{- define "retort.config" -}}
{{- $full := include "retort.fullname" .root -}}
{{- $config := dict
  "deployment" .root.Values.deployment
  "listen" (printf "0.0.0.0:%v" .root.Values.ports.grpc)
  "health_listen" (printf "0.0.0.0:%v" .root.Values.ports.health)
  "metrics_listen" (printf "0.0.0.0:%v" .root.Values.ports.metrics)
  "drain_wait_seconds" .role.drainSeconds
  "data_dir" "/var/lib/retort"
  "access_file" "/etc/retort/access/access.yaml"
  "tls" (dict "certificate" "/etc/retort/tls/tls.crt" "private_key" "/etc/retort/tls/tls.key" "authorities" "/etc/retort/tls/ca.crt")
-}}
{{- if .root.Values.reflection }}{{- $_ := set $config "reflection" true -}}{{- end -}}
{{- $keys := dict -}}
{{- range .role.keys }}{{- $_ := set $keys . (printf "/etc/retort/keys/%s.key" .) -}}{{- end -}}
{{- with $keys }}{{- $_ := set $config "keys" . -}}{{- end -}}
{{- $peers := dict -}}
{{- range .role.calls }}{{- $_ := set $peers . (printf "%s-%s:%v" $full . $.root.Values.ports.grpc) -}}{{- end -}}
{{- with $peers }}{{- $_ := set $config "peers" . -}}{{- end -}}
{{- if and (eq .name "jobs") (eq .root.Values.training.launcher "kubernetes") -}}
{{- $_ := set $config "training_launcher" (dict "kubernetes" (include "retort.launcherConfig" .root | fromYaml)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .role.config)) -}}
{{- end -}}
