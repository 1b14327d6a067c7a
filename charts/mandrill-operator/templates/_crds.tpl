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

{{/* What to do about a CRD of another owner. A release without an operator is gone: uninstalling it has left the CRD. */}}
{{- define "mandrill.crdRemedy" -}}
{{- $owner := include "mandrill.crdOwner" . -}}
{{- if eq $owner "another tool" -}}
It belongs to another tool than Helm: apply config/crd of this version first.
{{- else -}}
{{- $gone := true -}}
{{- range dig "items" (list) (lookup "apps/v1" "Deployment" (dir $owner) "") -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq (get $labels "app.kubernetes.io/instance") (base $owner)) (eq (get $labels "app.kubernetes.io/component") "operator") -}}{{- $gone = false -}}{{- end -}}
{{- end -}}
{{- if $gone -}}
It belongs to the release {{ $owner }}, which is gone. Take it over, and try again: kubectl annotate --overwrite customresourcedefinition mandrillwebhooks.mandrill-operator.io meta.helm.sh/release-name={{ .Release.Name }} meta.helm.sh/release-namespace={{ .Release.Namespace }}
{{- else -}}
It belongs to the release {{ $owner }}: upgrade that first.
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fields that the installed CRD does not have, each after a space. */}}
{{- define "mandrill.crdLacks" -}}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "mandrillwebhooks.mandrill-operator.io" -}}
{{- if and $crd (ne (include "mandrill.installsCRDs" .) "true") -}}
{{- $installed := dict -}}
{{- range $crd.spec.versions -}}{{- $installed = set $installed .name .schema.openAPIV3Schema -}}{{- end -}}
{{- range (.Files.Get "files/crd.yaml" | fromYaml).spec.versions -}}
{{- include "mandrill.schemaLacks" (dict "have" (get $installed .name | default dict) "want" .schema.openAPIV3Schema "path" "") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The arguments are a dict of two schemas, have and want, and their path. */}}
{{- define "mandrill.schemaLacks" -}}
{{- $have := .have.properties | default dict -}}
{{- range $name, $want := .want.properties | default dict -}}
{{- $path := ternary $name (printf "%s.%s" $.path $name) (eq $.path "") -}}
{{- if not (hasKey $have $name) }} {{ $path }}
{{- else -}}
{{- $field := get $have $name -}}
{{- include "mandrill.schemaLacks" (dict "have" $field "want" $want "path" $path) -}}
{{- if $want.items -}}
{{- include "mandrill.schemaLacks" (dict "have" ($field.items | default dict) "want" $want.items "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
