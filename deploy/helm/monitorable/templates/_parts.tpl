{{/* Parts that bridge, monitor and sidecars share. */}}

{{- define "labels" -}}
app.kubernetes.io/part-of: monitorable
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "spread" -}}
{{- $selector := include "selector" . }}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- $selector | nindent 6 }}
{{- end }}
{{- end }}

{{/* Native gRPC probes; both services are answered by the working loop. */}}
{{- define "probes" -}}
startupProbe:
  grpc: { port: {{ .port }}, service: {{ .startup | default "liveness" }} }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  grpc: { port: {{ .port }}, service: liveness }
  periodSeconds: 5
  timeoutSeconds: 3
{{- if not .unready }}
readinessProbe:
  grpc: { port: {{ .port }}, service: readiness }
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}
{{- end }}

{{/* Environment variables: those of the values go before these. */}}
{{- define "settings" -}}
{{- range $name, $value := merge (deepCopy .values) .usual }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}

{{- define "bridge.container" -}}
image: "{{ .Values.bridge.image.repository }}:{{ .Values.bridge.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.bridge.image.pullPolicy }}
env:
  # The id under which the monitor knows it.
  - { name: BRIDGE_COMPONENT_ID, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
  {{- $usual := dict "BRIDGE_GRPC_LISTEN" "[::]:50051" "BRIDGE_HTTP_LISTEN" "[::]:8080" "BRIDGE_LOG_FORMAT" "json" }}
  # Who may publish, read and audit.
  {{- $_ := set $usual "BRIDGE_AUTH_ACCESS_FILE" "/etc/bridge-secret/access.toml" }}
  {{- include "settings" (dict "values" .Values.bridge.settings "usual" $usual) | nindent 2 }}
volumeMounts:
  - { name: bridge-secret, mountPath: /etc/bridge-secret, readOnly: true }
ports:
  - { name: grpc, containerPort: 50051 }
  - { name: http, containerPort: 8080 }
resources: {{- toYaml .Values.bridge.resources | nindent 2 }}
{{- end }}

{{- define "monitor.container" -}}
image: "{{ .Values.monitor.image.repository }}:{{ .Values.monitor.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.monitor.image.pullPolicy }}
resources: {{- toYaml .Values.monitor.resources | nindent 2 }}
volumeMounts:
  - { name: monitor-config, mountPath: /etc/monitor, readOnly: true }
  - { name: monitor-secret, mountPath: /etc/monitor-secret, readOnly: true }
{{- end }}

{{- define "monitor.secret" -}}
- name: monitor-secret
  secret: { secretName: {{ .Values.monitor.existingSecret }} }
{{- end }}

{{- define "bridge.secret" -}}
- name: bridge-secret
  secret: { secretName: {{ .Values.bridge.existingSecret }} }
{{- end }}

{{- define "monitor.env" -}}
{{- $usual := dict "MONITOR_CONFIG" "/etc/monitor/monitor.toml" "MONITOR_LOG_FORMAT" "json" }}
{{- $_ := set $usual "MONITOR_GRPC_LISTEN" "[::]:50061" }}
{{- $_ := set $usual "MONITOR_HTTP_LISTEN" "[::]:8090" }}
# Who may look, register and report.
{{- $_ := set $usual "MONITOR_AUTH_ACCESS_FILE" "/etc/monitor-secret/access.toml" }}
# For commands inside the pod: kubectl exec … -- /monitor-service findings --open
{{- $_ := set $usual "MONITOR_TOKEN_FILE" "/etc/monitor-secret/token" }}
{{- $secret := .Values.monitor.existingSecret }}
{{- range $name, $key := dict "MONITOR_ALERT_WEBHOOK_URL" "webhook-url" "MONITOR_ALERT_DEAD_MAN_URL" "dead-man-url" }}
- name: {{ $name }}
  valueFrom: { secretKeyRef: { name: {{ $secret }}, key: {{ $key }}, optional: true } }
{{- end }}
{{- include "settings" (dict "values" .Values.monitor.settings "usual" $usual) }}
{{- end }}
