{{- define "mandrill.operatorArgs" -}}
{{- $operator := .Values.operator -}}
- --routes-secret={{ .Release.Namespace }}/{{ include "mandrill.routesSecret" . }}
- --leader-election-id={{ include "mandrill.fullname" . }}
- --receiver-service-accounts={{ .Release.Namespace }}/{{ include "mandrill.receiver" . }}
{{- if not $operator.reports }}
- --reports-listen=0
{{- end }}
{{- with .Values.publicURL }}
- --public-url={{ . }}
{{- end }}
{{- if ne $operator.receiverURL "public" }}
- --receiver-url={{ default (printf "http://%s.%s:%d" (include "mandrill.receiver" .) .Release.Namespace (int .Values.receiver.service.port)) $operator.receiverURL }}
{{- end }}
{{- with .Values.mandrillAPIURL }}
- --mandrill-api-url={{ . }}
{{- end }}
{{- with .Values.installation }}
- --installation={{ . }}
{{- end }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
- --cluster-domain={{ .Values.clusterDomain }}
- --resync-interval={{ $operator.resyncInterval }}
- --max-webhooks-per-namespace={{ int $operator.maxWebhooksPerNamespace }}
{{- if .Values.sinks.allowCrossNamespace }}
- --allow-cross-namespace-sinks
{{- end }}
{{- with .Values.sinks.allowHosts }}
- --allow-sink-hosts={{ join "," . }}
{{- end }}
{{- with .Values.sinks.audiences }}
- --sink-audiences={{ join "," . }}
{{- end }}
- --log-level={{ $operator.logLevel }}
{{- range $operator.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Annotations of an object of the hook before uninstalling; the argument is its place in the order. */}}
{{- define "mandrill.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
