{{/* Names. The receiver's begin with the operator's, without "-operator": mandrill-operator and mandrill-receiver. */}}
{{- define "mandrill.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride }}
{{- else if contains $name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "mandrill.receiver" -}}
{{ printf "%s-receiver" (include "mandrill.fullname" . | trimSuffix "-operator") }}
{{- end -}}

{{- define "mandrill.clusterScoped" -}}
{{ default (printf "%s-%s" .Release.Namespace (include "mandrill.fullname" .)) .Values.clusterScopedName }}
{{- end -}}

{{- define "mandrill.routesSecret" -}}
{{ include "mandrill.receiver" . }}-routes
{{- end -}}

{{- define "mandrill.routesSecrets" -}}
- {{ include "mandrill.routesSecret" . }}
{{- range untilStep 1 8 1 }}
- {{ include "mandrill.routesSecret" $ }}-{{ . }}
{{- end }}
{{- end -}}

{{/* Name of the StatefulSet or Deployment of a buffer mode: each mode has its own, because their volumes differ. */}}
{{- define "mandrill.workload" -}}
{{- $suffix := get (dict "Volume" "" "Cluster" "-cluster" "NATS" "-nats" "None" "-direct") .Values.receiver.buffer.mode -}}
{{ include "mandrill.receiver" . }}{{ $suffix }}
{{- end -}}

{{- define "mandrill.replicas" -}}
{{- $replicas := .Values.receiver.replicas -}}
{{- if kindIs "invalid" $replicas -}}{{ ternary 3 2 (eq .Values.receiver.buffer.mode "Cluster") }}{{- else -}}{{ int $replicas }}{{- end -}}
{{- end -}}

{{/* Labels. The arguments are a dict of root and component. */}}
{{- define "mandrill.selector" -}}
app.kubernetes.io/name: mandrill-operator
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "mandrill.labels" -}}
{{ include "mandrill.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Image of a program. */}}
{{- define "mandrill.image" -}}
{{- $image := .program.image -}}
{{- $registry := .root.Values.image.registry | default (ternary "" "mandrill-operator.io" (contains "/" $image.repository)) -}}
{{- $name := printf "%s/%s" (trimSuffix "/" $registry) $image.repository | trimPrefix "/" -}}
{{- if $image.digest -}}{{ $name }}@{{ $image.digest }}
{{- else -}}{{ $name }}:{{ coalesce $image.tag .root.Values.image.tag .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Bytes of a quantity such as 640Mi. */}}
{{- define "mandrill.bytes" -}}
{{- $quantity := toString . -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" $quantity -}}
{{- $factor := get (dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (trimPrefix $number $quantity) -}}
{{- if or (not $number) (not $factor) -}}{{ fail (printf "%q is not a quantity of bytes such as 640Mi or 8Gi" $quantity) }}{{- end -}}
{{ printf "%.0f" (mulf (float64 $number) (float64 $factor)) }}
{{- end -}}

{{/* Environment that makes Go's garbage collector and scheduler follow the limits of the container. */}}
{{- define "mandrill.goEnv" -}}
{{- $limits := dig "limits" (dict) .resources -}}
{{- with $limits.memory }}
- name: GOMEMLIMIT
  value: {{ printf "%.0fMiB" (floor (divf (mulf (float64 (include "mandrill.bytes" .)) $.memoryFraction) 1048576)) }}
{{- end }}
{{- with $limits.cpu }}
{{- $cpu := toString . }}
{{- $cores := ternary (divf (float64 (trimSuffix "m" $cpu)) 1000) (float64 (trimSuffix "m" $cpu)) (hasSuffix "m" $cpu) }}
- name: GOMAXPROCS
  value: {{ max 1 (ceil $cores | int) | quote }}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Security of containers, as the Pod Security Standard "restricted" wants it. */}}
{{- define "mandrill.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{/* Where pods may run. */}}
{{- define "mandrill.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Host and path of the public URL, or those of the ingress or gateway. The arguments are a dict of root and front. */}}
{{- define "mandrill.host" -}}
{{ default (urlParse .root.Values.publicURL).hostname .front.host }}
{{- end -}}

{{- define "mandrill.path" -}}
{{ default (urlParse .root.Values.publicURL).path .front.path | default "/" }}
{{- end -}}

{{/* The rules of a role that controller-gen wrote, as a YAML list. The arguments are a dict of root and kind. */}}
{{- define "mandrill.rules" -}}
{{- range splitList "\n---\n" (.root.Files.Get "files/role.yaml") -}}
{{- $role := fromYaml . -}}
{{- if eq (toString $role.kind) $.kind -}}{{ toYaml $role.rules }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Port of a URL. */}}
{{- define "mandrill.portOf" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{ default (ternary "443" "80" (eq $url.scheme "https")) $port }}
{{- end -}}
