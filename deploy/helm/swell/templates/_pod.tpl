{{- /*
The pod template of a service: swell.pod (dict
  "root" $, "name" "gateway", "values" .Values.gateway, "drain" 60,
  "ports" (dict "http" 9090), "env" (dict), "secrets" (dict), "workspace" (a volume source, optional),
  "sandbox" true for pods that make sandboxes, "account" the ServiceAccount, "token" true if its token is mounted)
*/ -}}
{{- define "swell.pod" -}}
{{- $root := .root }}
{{- $env := mustMergeOverwrite (deepCopy .env) $root.Values.settings .values.settings }}
{{- $secrets := mustMergeOverwrite (deepCopy .secrets) .values.secretFiles }}
metadata:
  labels:
    {{- include "swell.labels" . | nindent 4 }}
  {{- with .values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .account | default (printf "%s-%s" (include "swell.fullname" $root) .name) }}
  automountServiceAccountToken: {{ .token | default false }}
  enableServiceLinks: false # their variables begin as settings do
  terminationGracePeriodSeconds: {{ add .drain 30 }} # preStop, the drain, and closing of connections
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .sandbox }}
  securityContext:
    {{- include "swell.restrictedPod" $root | nindent 4 }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "swell.selector" $ | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "swell.image" . }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      ports:
        {{- range $port, $number := .ports }}
        - {name: {{ $port }}, containerPort: {{ $number }}}
        {{- end }}
        - {name: operator, containerPort: 9190}
      env:
        {{- range $name, $value := $env }}
        - name: {{ $name }}
          value: {{ $value | toString | quote }}
        {{- end }}
        {{- range $name, $key := $secrets }}
        - name: {{ $name }}
          value: /etc/swell/secrets/{{ $key }}
        {{- end }}
      startupProbe:
        httpGet: {path: /live, port: operator}
        periodSeconds: 2
        timeoutSeconds: 3
        failureThreshold: 90
      readinessProbe: # has deadlines of 2 s for each backend
        httpGet: {path: /ready, port: operator}
        periodSeconds: 5
        timeoutSeconds: 4
        failureThreshold: 2
      livenessProbe: # no backend matters
        httpGet: {path: /live, port: operator}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      lifecycle:
        preStop:
          sleep: {seconds: 5} # until no Service and no proxy sends requests to this pod
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        {{- if .sandbox }}
        {{- include "swell.sandbox" .values | nindent 8 }}
        {{- else }}
        {{- include "swell.restricted" $root | nindent 8 }}
        {{- end }}
      volumeMounts:
        - {name: secrets, mountPath: /etc/swell/secrets, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if .workspace }}
        - {name: workspace, mountPath: /var/lib/swell}
        {{- end }}
        {{- if .sandbox }}
        - {name: tun, mountPath: /dev/net/tun}
        {{- end }}
        {{- if $root.Values.caBundle.configMap }}
        - {name: ca, mountPath: /etc/swell/ca, readOnly: true}
        {{- end }}
        {{- if $root.Values.rpcTls.secret }}
        - {name: rpc, mountPath: /etc/swell/rpc, readOnly: true}
        {{- end }}
  volumes:
    - name: secrets
      secret:
        secretName: {{ $root.Values.existingSecret }}
        defaultMode: 0440
        items:
          {{- range values $secrets | uniq | sortAlpha }}
          - {key: {{ . }}, path: {{ . }}}
          {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if and .workspace (ne (toString .workspace) "claim") }}
    - name: workspace
      {{- toYaml .workspace | nindent 6 }}
    {{- end }}
    {{- if .sandbox }}
    - name: tun # slirp4netns makes the network of steps with it
      hostPath: {path: /dev/net/tun, type: CharDevice}
    {{- end }}
    {{- with $root.Values.caBundle.configMap }}
    - name: ca
      configMap: {name: {{ . }}}
    {{- end }}
    {{- with $root.Values.rpcTls.secret }}
    - name: rpc
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        items:
          {{- range list "ca.crt" "tls.crt" "tls.key" }}
          - {key: {{ . }}, path: {{ . }}}
          {{- end }}
    {{- end }}
{{- end }}

{{- /* Objects beside the pods: swell.beside (dict "root" $ "name" "gateway" "namespace" "…") */ -}}
{{- define "swell.beside" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "swell.metadata" . | nindent 2 }}
  {{- with .root.Values.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "swell.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "swell.selector" . | nindent 6 }}
{{- end }}

{{- /* A Service without an address of its own: gRPC clients spread calls over the addresses of all ready pods. */ -}}
{{- define "swell.headless" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "swell.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "swell.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: {{ .grpc }}, targetPort: grpc, appProtocol: grpc}
    - {name: operator, port: 9190, targetPort: operator}
{{- end }}

{{- define "swell.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "swell.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "swell.fullname" .root }}-{{ .name }}}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .values.autoscaling.cpuPercent }}}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
      policies: [{type: Pods, value: 1, periodSeconds: 60}]
{{- end }}
