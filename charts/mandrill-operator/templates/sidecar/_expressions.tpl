{{/*
Sidecars are injected by policies, which the API server runs itself: there is no admission server that could be away. The mutating policy
adds the receiver to a pod without a fault, and the validating one refuses a pod with a fault. Both have these variables. The label
mandrill-operator.io/receiver marks pods that have the receiver.
*/}}
{{- define "mandrill.sidecarVariables" -}}
- name: webhook
  expression: object.metadata.labels["mandrill-operator.io/inject"]
- name: annotations
  expression: 'has(object.metadata.annotations) ? object.metadata.annotations : {}'
- name: buffer
  expression: >-
    "mandrill-operator.io/buffer" in variables.annotations && variables.annotations["mandrill-operator.io/buffer"] != "" ?
    variables.annotations["mandrill-operator.io/buffer"] : "None"
- name: size
  expression: >-
    "mandrill-operator.io/buffer-size" in variables.annotations && variables.annotations["mandrill-operator.io/buffer-size"] != "" ?
    variables.annotations["mandrill-operator.io/buffer-size"] : variables.buffer == "EmptyDir" ? {{ .Values.sidecarInjection.bufferSize | quote }} : ""
- name: audiences
  expression: >-
    "mandrill-operator.io/token-audiences" in variables.annotations && variables.annotations["mandrill-operator.io/token-audiences"] != "" ?
    variables.annotations["mandrill-operator.io/token-audiences"].split(",").map(a, a.trim()) : []
- name: volumes
  expression: 'has(object.spec.volumes) ? object.spec.volumes : []'
- name: containers
  expression: 'object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])'
- name: injected
  expression: '"mandrill-operator.io/receiver" in object.metadata.labels'
- name: fault
  expression: >-
    {{- include "mandrill.sidecarFault" . | nindent 4 }}
{{- end -}}

{{/* What is wrong with a pod, as a sentence that says what to change; "" if nothing is. */}}
{{- define "mandrill.sidecarFault" -}}
{{- $ports := printf "[%d, %d]" (int .Values.sidecarInjection.port) (int .Values.sidecarInjection.metricsPort) -}}
!variables.webhook.matches("^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$") ?
  "the label mandrill-operator.io/inject is \"" + variables.webhook + "\", which is not the name of a MandrillWebhook: write the name of one of this namespace, or remove the label" :
variables.injected && !variables.containers.exists(c, c.name == "mandrill-receiver") ?
  "the pod has the label mandrill-operator.io/receiver, which marks pods with a receiver, and no container mandrill-receiver: remove this label" :
variables.injected ? "" :
variables.containers.exists(c, c.name == "mandrill-receiver") ?
  "the pod has a container mandrill-receiver already: rename it, or remove the label mandrill-operator.io/inject to run a receiver of your own" :
variables.volumes.exists(v, v.name in ["mandrill-routes", "mandrill-operator-token", "mandrill-buffer", "mandrill-tokens"]) ?
  "the pod has a volume mandrill-routes, mandrill-operator-token, mandrill-buffer or mandrill-tokens already, which the injected receiver needs: rename it" :
variables.containers.exists(c, has(c.ports) && c.ports.exists(p, p.containerPort in {{ $ports }} || has(p.name) && p.name == "mandrill")) ?
  "a container of the pod has port {{ int .Values.sidecarInjection.port }} or {{ int .Values.sidecarInjection.metricsPort }}, or a port named mandrill, which the injected receiver needs: let it have another" :
!(variables.buffer in ["None", "EmptyDir"]) && !variables.volumes.exists(v, v.name == variables.buffer) ?
  "the annotation mandrill-operator.io/buffer is \"" + variables.buffer + "\": write None, EmptyDir, or the name of a volume of the pod" :
variables.buffer == "None" && variables.size != "" ?
  "the annotation mandrill-operator.io/buffer-size needs mandrill-operator.io/buffer: EmptyDir, or the name of a volume of the pod" :
variables.size != "" && !(variables.size.matches("^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$") && quantity(variables.size).compareTo(quantity("80Mi")) >= 0 && quantity(variables.size).compareTo(quantity("1000Ti")) <= 0) ?
  "the annotation mandrill-operator.io/buffer-size is \"" + variables.size + "\": write a size of at least 80Mi, such as 1Gi" :
!variables.audiences.all(a, a.matches("^[A-Za-z0-9][-A-Za-z0-9._~:/@%+]*$") && variables.audiences.exists_one(b, b == a)) ?
  "the annotation mandrill-operator.io/token-audiences is \"" + variables.audiences.join(",") + "\": write audiences, each once, separated by commas, such as eventing.knative.dev/broker/shop/default" :
""
{{- end -}}

{{/* Arguments of an injected receiver without those of its buffer and its tokens, as a list in CEL. */}}
{{- define "mandrill.sidecarArgs" -}}
{{- $receiver := .Values.receiver -}}
{{- $reports := list -}}
{{- if .Values.operator.reports -}}
{{- $reports = list (printf "--operator-url=http://%s.%s:8082" (include "mandrill.fullname" .) .Release.Namespace) -}}
{{- end -}}
{{- $args := concat $reports (list
  "--config=/mandrill/routes/routes.yaml"
  (printf "--listen=:%d" (int .Values.sidecarInjection.port))
  (printf "--metrics-listen=:%d" (int .Values.sidecarInjection.metricsPort))
  "--shutdown-delay=0s"
  (printf "--max-body-bytes=%s" (include "mandrill.bytes" $receiver.maxBodySize))
  (printf "--max-inflight-bytes=%s" (include "mandrill.bytes" $receiver.maxInflightSize))
  (printf "--sink-concurrency=%d" (int $receiver.sinkConcurrency))
  (printf "--log-level=%s" $receiver.logLevel)
) -}}
{{ toJson $args }}
{{- end -}}

{{/* Arguments of the buffer of an injected receiver, as a list in CEL. */}}
{{- define "mandrill.sidecarBufferArgs" -}}
{{- $buffer := .Values.receiver.buffer -}}
(variables.buffer == "None" ? [] : {{ toJson (list
  "--buffer=embedded"
  "--buffer-dir=/mandrill/buffer"
  (printf "--delivery-max-age=%s" $buffer.deliveryMaxAge)
  (printf "--deleted-webhook-retention=%s" $buffer.deletedWebhookRetention)
) }}) +
(variables.size == "" ? [] : ["--buffer-max-bytes=" + string(quantity(variables.size).asInteger() / 5 * 4)])
{{- end -}}

{{/* A map of strings in CEL. */}}
{{- define "mandrill.celMap" -}}
{{ range $name, $value := . }}{{ $name | quote }}: {{ toString $value | quote }}, {{ end }}
{{- end -}}

{{/* Environment of an injected receiver, as elements of a list in CEL. */}}
{{- define "mandrill.sidecarEnv" -}}
{{- range include "mandrill.goEnv" (dict "resources" .Values.sidecarInjection.resources "memoryFraction" 0.6 "extraEnv" list) | fromYamlArray }}
Object.spec.initContainers.env{name: {{ .name | quote }}, value: {{ .value | quote }}},
{{- end }}
Object.spec.initContainers.env{name: "POD_NAME", valueFrom: Object.spec.initContainers.env.valueFrom{
  fieldRef: Object.spec.initContainers.env.valueFrom.fieldRef{fieldPath: "metadata.name"}
}}
{{- end -}}

{{- define "mandrill.sidecarPods" -}}
objectSelector: {matchExpressions: [{key: mandrill-operator.io/inject, operator: Exists}]}
resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
{{- end -}}

{{/* Namespaces in which pods get a receiver. */}}
{{- define "mandrill.sidecarScope" -}}
{{- with .Values.watchNamespaces -}}
matchResources:
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}]}
{{- end -}}
{{- end -}}
