{{/* The claims to drain, as JSON: a list of {ordinal, claim, size}. */}}
{{- define "mandrill.drains" -}}
{{- $drains := dict -}}
{{- $prefix := printf "buffer-%s-" (include "mandrill.receiver" .) -}}
{{- range .Values.receiver.drain.ordinals -}}
{{- $ordinal := toString . -}}
{{- $drains = set $drains $ordinal (dict "ordinal" $ordinal "claim" (print $prefix $ordinal) "size" $.Values.receiver.buffer.volume.size) -}}
{{- end -}}
{{- if .Values.receiver.drain.enabled -}}
{{- $used := 0 -}}
{{- if eq .Values.receiver.buffer.mode "Volume" -}}{{- $used = include "mandrill.replicas" . | int -}}{{- end -}}
{{- range dig "items" (list) (lookup "v1" "PersistentVolumeClaim" .Release.Namespace "") -}}
{{- $ordinal := trimPrefix $prefix .metadata.name -}}
{{- if and (hasPrefix $prefix .metadata.name) (regexMatch "^[0-9]+$" $ordinal) (not .metadata.deletionTimestamp) -}}
{{- if ge (int $ordinal) $used -}}
{{- $drains = set $drains $ordinal (dict "ordinal" $ordinal "claim" .metadata.name "size" .spec.resources.requests.storage) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $list := list -}}
{{- range $ordinal := keys $drains | sortAlpha -}}{{- $list = append $list (get $drains $ordinal) -}}{{- end -}}
{{- toJson $list -}}
{{- end -}}
