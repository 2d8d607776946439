{{- /* Names, labels, and the parts that all pods of Swell share. */ -}}

{{- define "swell.fullname" -}}
{{- if contains "swell" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-swell" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* The namespace of builders and scanners, whose pods make sandboxes. */ -}}
{{- define "swell.builders" -}}
{{ if eq .Values.builder.where "pod" }}{{ .Values.builder.namespace }}{{ else }}{{ .Release.Namespace }}{{ end }}
{{- end }}

{{- /* swell.selector (dict "root" $ "name" "gateway") */ -}}
{{- define "swell.selector" -}}
app.kubernetes.io/name: swell
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "swell.labels" -}}
{{ include "swell.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* swell.metadata (dict "root" $ "name" "gateway" "namespace" "swell"), for objects that are named after a component */ -}}
{{- define "swell.metadata" -}}
name: {{ include "swell.fullname" .root }}-{{ .name }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "swell.labels" . | nindent 2 }}
{{- end }}

{{- define "swell.image" -}}
{{ .root.Values.image.prefix }}-{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* The repository of builds, with its default in the trial registry. */ -}}
{{- define "swell.buildRepository" -}}
{{- if .Values.buildRepository }}{{ .Values.buildRepository }}
{{- else if .Values.trial.enabled }}{{ include "swell.trialRegistry" . }}/swell/build
{{- else }}{{ fail "set buildRepository, the repository to which builds are pushed" }}{{ end }}
{{- end }}

{{- define "swell.trialRegistry" -}}
{{ include "swell.fullname" . }}-registry.{{ .Release.Namespace }}.svc:5000
{{- end }}

{{- define "swell.s3Endpoint" -}}
{{- if .Values.s3Endpoint }}{{ .Values.s3Endpoint }}
{{- else if .Values.trial.enabled }}http://{{ include "swell.fullname" . }}-minio.{{ .Release.Namespace }}.svc:9000
{{- else }}{{ fail "set s3Endpoint, the URL of the object store" }}{{ end }}
{{- end }}

{{- /* Settings of all services: swell.env (dict "root" $ "drain" 60) */ -}}
{{- define "swell.env" -}}
SWELL_LOG_LEVEL: {{ .root.Values.logLevel | quote }}
SWELL_OPERATOR_LISTEN: "0.0.0.0:9190"
SWELL_DRAIN: "PT{{ int .drain }}S"
SWELL_S3_ENDPOINT: {{ include "swell.s3Endpoint" .root | quote }}
{{- if .root.Values.caBundle.configMap }}
SWELL_CA_FILE: /etc/swell/ca/{{ .root.Values.caBundle.key }}
{{- end }}
{{- if .root.Values.rpcTls.secret }}
SWELL_RPC_CA_FILE: /etc/swell/rpc/ca.crt
SWELL_RPC_CERTIFICATE_FILE: /etc/swell/rpc/tls.crt
SWELL_RPC_CERTIFICATE_KEY_FILE: /etc/swell/rpc/tls.key
{{- end }}
{{- end }}

{{- /* Settings of services that make requests to other servers. */ -}}
{{- define "swell.reach" -}}
{{- with .Values.proxies.http }}
SWELL_HTTP_PROXY: {{ . | quote }}
{{- end }}
{{- with .Values.proxies.https }}
SWELL_HTTPS_PROXY: {{ . | quote }}
{{- end }}
{{- with .Values.proxies.none }}
SWELL_NO_PROXY: {{ join "," . | quote }}
{{- end }}
SWELL_BUILD_REPOSITORY: {{ include "swell.buildRepository" . | quote }}
{{- end }}

{{- /* Settings of services that read registries. */ -}}
{{- define "swell.registries" -}}
{{- $trial := ternary (list (include "swell.trialRegistry" .)) (list) .Values.trial.enabled }}
SWELL_ALLOWED_HOSTS: {{ concat $trial .Values.allowedHosts | join "," | quote }}
SWELL_INSECURE_REGISTRIES: {{ concat $trial .Values.insecureRegistries | join "," | quote }}
SWELL_SHARED_REGISTRIES: {{ concat $trial .Values.sharedRegistries | join "," | quote }}
{{- end }}

{{- /* Secrets of all services: settings and keys of the Secret. */ -}}
{{- define "swell.secrets" -}}
SWELL_RPC_TOKEN_FILE: rpc-token
SWELL_REDIS_URL_FILE: redis-url
SWELL_NATS_URL_FILE: nats-url
{{- if or .Values.s3Keys .Values.trial.enabled }}
SWELL_S3_ACCESS_KEY_FILE: s3-access-key
SWELL_S3_SECRET_KEY_FILE: s3-secret-key
{{- end }}
{{- end }}

{{- define "swell.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "swell.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* A pod that makes sandboxes: root with the rights that were tried (docs/deploy/compose.md), and not privileged. */ -}}
{{- define "swell.sandbox" -}}
privileged: false
runAsUser: 0
readOnlyRootFilesystem: true
seccompProfile: {{ toJson .seccompProfile }}
appArmorProfile: {type: Unconfined}
capabilities:
  drop: [ALL]
  add: [SYS_ADMIN, SETUID, SETGID, CHOWN, DAC_OVERRIDE, FOWNER, MKNOD, SETFCAP, KILL, SYS_CHROOT]
{{- end }}
