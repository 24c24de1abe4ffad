{{/* Security of a pod: the restricted level of Pod Security, and a fixed user. */}}
{{- define "retort.podSecurity" -}}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.runAs.user }}
  runAsGroup: {{ .root.Values.runAs.group }}
  fsGroup: {{ .root.Values.runAs.group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "retort.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "retort.containerImage" -}}
image: {{ include "retort.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* Pod template of a role: (dict "root" $ "name" "ledger" "role" .Values.roles.ledger) */}}
{{- define "retort.rolePod" -}}
{{- $full := include "retort.fullname" .root -}}
{{- $name := printf "%s-%s" $full .name -}}
{{- $labels := dict "root" .root "component" .name -}}
metadata:
  labels:
    {{- include "retort.podLabels" $labels | nindent 4 }}
  annotations:
    # A changed configuration is a new pod.
    checksum/config: {{ include "retort.config" . | sha256sum }}
spec:
  serviceAccountName: {{ $name }}
  {{- include "retort.podSecurity" (dict "root" .root "token" .role.token) | nindent 2 }}
  terminationGracePeriodSeconds: {{ .role.terminationGracePeriodSeconds }}
  {{- with .role.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .role.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .role.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .role.stateful }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: {{ $.role.spread }}
      labelSelector:
        matchLabels:
          {{- include "retort.selector" $labels | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: retortd
      {{- include "retort.containerImage" .root | nindent 6 }}
      command: [retortd]
      args: [--config, /etc/retort/config, --roles, {{ .name }}]
      {{- with .role.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: grpc, containerPort: {{ .root.Values.ports.grpc }}, protocol: TCP}
        - {name: health, containerPort: {{ .root.Values.ports.health }}, protocol: TCP}
        - {name: metrics, containerPort: {{ .root.Values.ports.metrics }}, protocol: TCP}
      startupProbe:
        grpc: {port: {{ .root.Values.ports.health }}}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: {{ div (int .role.startupSeconds) 2 }}
      readinessProbe:
        grpc: {port: {{ .root.Values.ports.health }}}
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      # Only that the process answers: a role that waits for another, or a read-only ledger, is not mended by a restart.
      livenessProbe:
        grpc: {port: {{ .root.Values.ports.health }}, service: liveness}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources:
        {{- toYaml .role.resources | nindent 8 }}
      {{- include "retort.containerSecurity" . | nindent 6 }}
      volumeMounts:
        - {name: config, mountPath: /etc/retort/config, readOnly: true}
        - {name: access, mountPath: /etc/retort/access, readOnly: true}
        - {name: tls, mountPath: /etc/retort/tls, readOnly: true}
        - {name: keys, mountPath: /etc/retort/keys, readOnly: true}
        {{- if .role.publicKeys }}
        - {name: public-keys, mountPath: /etc/retort/public-keys, readOnly: true}
        {{- end }}
        {{- if .role.apiKeys }}
        - {name: api-keys, mountPath: /etc/retort/api-keys, readOnly: true}
        {{- end }}
        - {name: data, mountPath: {{ .role.dataPath }}}
        {{- if and (eq .name "jobs") (eq .root.Values.training.launcher "kubernetes") }}
        - {name: runs, mountPath: /var/lib/retort/jobs/runs}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
        {{- if and (eq .name "jobs") (eq .root.Values.training.launcher "processes") }}
        - {name: shared-memory, mountPath: /dev/shm}
        {{- end }}
        {{- with .role.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ $name }}-config}
    - name: access
      configMap: {name: {{ $full }}-access}
    # The group reads what the kubelet mounts as root: 0440.
    - name: tls
      secret: {secretName: {{ $name }}-tls, defaultMode: 0440}
    - name: keys
      secret: {secretName: {{ $name }}-keys, defaultMode: 0440}
    {{- if .role.publicKeys }}
    - name: public-keys
      configMap: {name: {{ $full }}-public-keys}
    {{- end }}
    {{- if .role.apiKeys }}
    - name: api-keys
      secret: {secretName: {{ $name }}-api-keys, defaultMode: 0440, optional: true}
    {{- end }}
    {{- if not .role.stateful }}
    - name: data
      emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.tmpSize }}}
    {{- end }}
    {{- if and (eq .name "jobs") (eq .root.Values.training.launcher "kubernetes") }}
    - name: runs
      persistentVolumeClaim: {claimName: {{ $full }}-runs}
    {{- end }}
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.tmpSize }}}
    {{- if and (eq .name "jobs") (eq .root.Values.training.launcher "processes") }}
    - name: shared-memory
      emptyDir: {medium: Memory, sizeLimit: 1Gi}
    {{- end }}
    {{- with .role.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
