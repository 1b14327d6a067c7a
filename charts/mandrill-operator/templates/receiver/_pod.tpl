{{/* Bytes of the buffer: 80 % of a volume, because JetStream compacts files only when half of their content was delivered. */}}
{{- define "mandrill.bufferBytes" -}}
{{ printf "%.0f" (floor (mulf (float64 (include "mandrill.bytes" .)) 0.8)) }}
{{- end -}}

{{/* Arguments of the receiver, for a buffer mode and the size of the volume. The arguments are a dict of root, mode and size. */}}
{{- define "mandrill.receiverArgs" -}}
{{- $receiver := .root.Values.receiver -}}
- --routes-secret={{ .root.Release.Namespace }}/{{ include "mandrill.routesSecret" .root }}
{{- if .root.Values.operator.reports }}
- --operator-url=http://{{ include "mandrill.fullname" .root }}.{{ .root.Release.Namespace }}:8082
{{- end }}
- --shutdown-delay={{ int $receiver.shutdownDelaySeconds }}s
- --max-body-bytes={{ include "mandrill.bytes" $receiver.maxBodySize }}
- --max-inflight-bytes={{ include "mandrill.bytes" $receiver.maxInflightSize }}
- --sink-concurrency={{ int $receiver.sinkConcurrency }}
{{- with .root.Values.sinks.allowHosts }}
- --allow-sink-hosts={{ join "," . }}
{{- end }}
{{- range $i, $audience := .root.Values.sinks.audiences }}
- {{ printf "--oidc-token=%s=/tokens/%d" $audience $i | quote }}
{{- end }}
{{- include (printf "mandrill.bufferArgs%s" .mode) . }}
{{- if ne .mode "None" }}
- --delivery-max-age={{ $receiver.buffer.deliveryMaxAge }}
- --deleted-webhook-retention={{ $receiver.buffer.deletedWebhookRetention }}
{{- end }}
{{- with $receiver.page }}
{{- if .enabled }}
- --page-listen=127.0.0.1:8089
{{- if .payloads }}
- --page-payloads
{{- end }}
{{- if .hosts }}
- --page-hosts={{ join "," .hosts }}
{{- end }}
{{- end }}
{{- end }}
- --log-level={{ $receiver.logLevel }}
{{- range $receiver.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "mandrill.bufferArgsNone" -}}{{- end -}}

{{- define "mandrill.bufferArgsVolume" }}
- --buffer=embedded
- --buffer-dir=/buffer
- --buffer-max-bytes={{ include "mandrill.bufferBytes" .size }}
{{- end -}}

{{- define "mandrill.bufferArgsCluster" }}
- --buffer=cluster
- --buffer-dir=/buffer
- --buffer-max-bytes={{ include "mandrill.bufferBytes" .size }}
- --buffer-peers={{ include "mandrill.receiver" .root }}-buffer:6222
- --buffer-password-file=/cluster/password
{{- if eq .root.Values.receiver.buffer.cluster.tls "None" }}
- --buffer-insecure
{{- else }}
- --buffer-tls-cert-file=/cluster/tls.crt
- --buffer-tls-key-file=/cluster/tls.key
- --buffer-tls-ca-file=/cluster/ca.crt
{{- end }}
{{- end -}}

{{- define "mandrill.bufferArgsNATS" }}
{{- $nats := .root.Values.receiver.buffer.nats }}
- --buffer={{ join "," $nats.urls }}
- --buffer-max-bytes={{ include "mandrill.bytes" $nats.maxSize }}
- --buffer-replicas={{ int $nats.replicas }}
- --buffer-name={{ default (printf "%s-%s" .root.Release.Namespace (include "mandrill.receiver" .root)) $nats.name }}
{{- if $nats.credentialsSecretName }}
- --buffer-credentials-file=/nats/credentials/nats.creds
{{- end }}
{{- if $nats.tlsSecretName }}
- --buffer-tls-ca-file=/nats/tls/ca.crt
{{- if $nats.tlsClientCertificate }}
- --buffer-tls-cert-file=/nats/tls/tls.crt
- --buffer-tls-key-file=/nats/tls/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{/* Volumes of Secrets and tokens, as JSON: a list of {name, mountPath, source}. */}}
{{- define "mandrill.receiverVolumes" -}}
{{- $root := .root -}}
{{- $buffer := $root.Values.receiver.buffer -}}
{{- $volumes := list -}}
{{- if eq .mode "Cluster" -}}
{{- $sources := list (dict "secret" (dict "name" (include "mandrill.passwordSecret" $root) "items" (list (dict "key" "password" "path" "password")))) -}}
{{- if ne $buffer.cluster.tls "None" -}}
{{- $sources = append $sources (dict "secret" (dict "name" (include "mandrill.tlsSecret" $root))) -}}
{{- end -}}
{{- $volumes = append $volumes (dict "name" "cluster" "mountPath" "/cluster" "source" (dict "projected" (dict "sources" $sources))) -}}
{{- end -}}
{{- if eq .mode "NATS" -}}
{{- with $buffer.nats.credentialsSecretName -}}
{{- $volumes = append $volumes (dict "name" "nats-credentials" "mountPath" "/nats/credentials" "source" (dict "secret" (dict "secretName" .))) -}}
{{- end -}}
{{- with $buffer.nats.tlsSecretName -}}
{{- $volumes = append $volumes (dict "name" "nats-tls" "mountPath" "/nats/tls" "source" (dict "secret" (dict "secretName" .))) -}}
{{- end -}}
{{- end -}}
{{- if $root.Values.operator.reports -}}
{{- $reportToken := dict "audience" "mandrill-operator" "expirationSeconds" 3600 "path" "token" -}}
{{- $volumes = append $volumes (dict "name" "report-token" "mountPath" "/var/run/secrets/mandrill-operator" "source" (dict "projected" (dict "sources" (list (dict "serviceAccountToken" $reportToken))))) -}}
{{- end -}}
{{- $tokens := list -}}
{{- range $i, $audience := $root.Values.sinks.audiences -}}
{{- $tokens = append $tokens (dict "serviceAccountToken" (dict "audience" $audience "path" (toString $i))) -}}
{{- end -}}
{{- if $tokens -}}
{{- $volumes = append $volumes (dict "name" "tokens" "mountPath" "/tokens" "source" (dict "projected" (dict "sources" $tokens))) -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end -}}

{{- define "mandrill.passwordSecret" -}}
{{ default (printf "%s-buffer-password" (include "mandrill.receiver" .)) .Values.receiver.buffer.cluster.passwordSecretName }}
{{- end -}}

{{- define "mandrill.tlsSecret" -}}
{{ default (printf "%s-buffer-tls" (include "mandrill.receiver" .)) .Values.receiver.buffer.cluster.tlsSecretName }}
{{- end -}}

{{/*
Spec of a pod of the receiver. The arguments are a dict of root, mode, size, claim (the name of the claim, empty for that of a StatefulSet) and
args, which are added.
*/}}
{{- define "mandrill.receiverPod" -}}
{{- $root := .root -}}
{{- $receiver := $root.Values.receiver -}}
{{- $onDisk := has .mode (list "Volume" "Cluster") -}}
{{- $_ := include "mandrill.validate" $root -}}{{/* here, because Helm renders deep folders first */}}
{{- $volumes := include "mandrill.receiverVolumes" . | fromJsonArray -}}
serviceAccountName: {{ include "mandrill.receiver" $root }}
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The shutdown delay, 35 seconds for requests in flight, 10 for deliveries, and 20 to spare.
terminationGracePeriodSeconds: {{ add (int $receiver.shutdownDelaySeconds) 65 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- include "mandrill.scheduling" $receiver | nindent 0 }}
containers:
- name: receiver
  image: {{ include "mandrill.image" (dict "root" $root "program" $receiver) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args:
  {{- include "mandrill.receiverArgs" . | nindent 2 }}
  {{- range .args }}
  - {{ . }}
  {{- end }}
  env:
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  {{- with include "mandrill.goEnv" (dict "resources" $receiver.resources "memoryFraction" 0.6 "extraEnv" $receiver.extraEnv) }}
  {{- . | nindent 2 }}
  {{- end }}
  ports:
  - {name: webhooks, containerPort: 8080}
  - {name: metrics, containerPort: 9090}
  {{- if eq .mode "Cluster" }}
  - {name: buffer, containerPort: 6222}
  {{- end }}
  # When the buffer is opened, all of it is read: about two seconds for a gigabyte.
  startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 1, failureThreshold: 300}
  livenessProbe: {httpGet: {path: /healthz, port: metrics}}
  readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 2}
  resources:
    {{- toYaml $receiver.resources | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{ include "mandrill.containerSecurity" $root }}
  {{- if or $onDisk $volumes }}
  volumeMounts:
  {{- if $onDisk }}
  - {name: buffer, mountPath: /buffer}
  {{- end }}
  {{- range $volumes }}
  - {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
  {{- end }}
  {{- end }}
{{- if and $receiver.page.enabled $receiver.page.proxy (not .args) }}
- {{ merge (dict "name" "page-proxy" "ports" (list (dict "name" "page" "containerPort" (int $receiver.page.proxyPort)))) $receiver.page.proxy | toJson }}
{{- end }}
{{- if or .claim $volumes }}
volumes:
{{- with .claim }}
- {name: buffer, persistentVolumeClaim: {claimName: {{ . }}}}
{{- end }}
{{- range $volumes }}
- {{ merge (dict "name" .name) .source | toJson }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "mandrill.topologySpread" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ if eq . "kubernetes.io/hostname" }}{{ $.root.Values.receiver.topologySpread }}{{ else }}ScheduleAnyway{{ end }}
  labelSelector:
    matchLabels:
      {{- $.selector | nindent 6 }}
{{- end }}
{{- end -}}
