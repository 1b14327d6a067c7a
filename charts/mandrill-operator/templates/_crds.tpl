{{/* The release that owns the installed CRD, as NAMESPACE/NAME; "another tool" if Helm does not know it, and empty if there is no CRD. */}}
{{- define "mandrill.crdOwner" -}}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "mandrillwebhooks.mandrill-operator.io" -}}
{{- if $crd -}}
{{- $annotations := dig "metadata" "annotations" (dict) $crd -}}
{{- $name := get $annotations "meta.helm.sh/release-name" -}}
{{- if $name -}}{{ get $annotations "meta.helm.sh/release-namespace" }}/{{ $name }}{{- else -}}another tool{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mandrill.installsCRDs" -}}
{{- $owner := include "mandrill.crdOwner" . -}}
{{- and .Values.crds.install (or (not $owner) (eq $owner (printf "%s/%s" .Release.Namespace .Release.Name))) -}}
{{- end -}}
