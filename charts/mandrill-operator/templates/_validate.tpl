{{/* Refuses values that the schema cannot, with what to do about them. It renders nothing. */}}
{{- define "mandrill.validate" }}
{{- $receiver := .Values.receiver }}
{{- $buffer := $receiver.buffer }}
{{- $mode := $buffer.mode }}
{{- $replicas := include "mandrill.replicas" . | int }}

{{/* One buffer. */}}
{{- if and (ne $mode "NATS") $buffer.nats.urls }}
{{- fail (printf "receiver.buffer.nats.urls is set, but receiver.buffer.mode is %s: there is one buffer. Set receiver.buffer.mode=NATS, or remove the URLs." $mode) }}
{{- end }}
{{- if and (ne $mode "Cluster") (or $buffer.cluster.passwordSecretName $buffer.cluster.tlsSecretName $buffer.cluster.issuerRef) }}
{{- fail (printf "receiver.buffer.cluster is set, but receiver.buffer.mode is %s: there is one buffer. Set receiver.buffer.mode=Cluster, or remove the settings of the cluster." $mode) }}
{{- end }}
{{- if eq $mode "NATS" }}
{{- if not $buffer.nats.urls }}
{{- fail "receiver.buffer.mode=NATS needs receiver.buffer.nats.urls, such as {nats://nats.nats:4222}." }}
{{- end }}
{{- if not $buffer.nats.maxSize }}
{{- fail "receiver.buffer.mode=NATS needs receiver.buffer.nats.maxSize, such as 10Gi, which the NATS account must have free for each replica." }}
{{- end }}
{{- if and $buffer.nats.tlsClientCertificate (not $buffer.nats.tlsSecretName) }}
{{- fail "receiver.buffer.nats.tlsClientCertificate needs receiver.buffer.nats.tlsSecretName, the Secret with the certificate." }}
{{- end }}
{{- end }}
{{- if eq $mode "Cluster" }}
{{- if not (has $replicas (list 0 3)) }}
{{- fail (printf "receiver.replicas is %d, but receiver.buffer.mode=Cluster has exactly 3 members (or 0, to stop it)." $replicas) }}
{{- end }}
{{- if and (eq $buffer.cluster.tls "Secret") (not $buffer.cluster.tlsSecretName) }}
{{- fail "receiver.buffer.cluster.tls=Secret needs receiver.buffer.cluster.tlsSecretName, a Secret with tls.crt, tls.key and ca.crt." }}
{{- end }}
{{- end }}

{{/* Sizes. */}}
{{- $body := include "mandrill.bytes" $receiver.maxBodySize | float64 }}
{{- $inflight := include "mandrill.bytes" $receiver.maxInflightSize | float64 }}
{{- if lt $inflight (mulf 2 $body) }}
{{- fail (printf "receiver.maxInflightSize is %s and must be at least twice receiver.maxBodySize, which is %s." $receiver.maxInflightSize $receiver.maxBodySize) }}
{{- end }}
{{- range $name, $resources := dict "receiver" $receiver.resources "sidecarInjection" .Values.sidecarInjection.resources }}
{{- with dig "limits" "memory" "" $resources }}
{{- $limit := include "mandrill.bytes" . | float64 }}
{{- if and (lt $limit (mulf 2.5 $inflight)) (or (eq $name "receiver") $.Values.sidecarInjection.enabled) }}
{{- fail (printf "%s.resources.limits.memory is %s and must be at least %.0fMi, which is 2.5 times receiver.maxInflightSize: the receiver would be killed under load." $name . (ceil (divf (mulf 2.5 $inflight) 1048576))) }}
{{- end }}
{{- end }}
{{- end }}
{{- if has $mode (list "Volume" "Cluster") }}
{{- if lt (include "mandrill.bufferBytes" $buffer.volume.size | float64) 67108864.0 }}
{{- fail (printf "receiver.buffer.volume.size is %s and must be at least 80Mi: the buffer takes 80 %% of it, and needs 64Mi." $buffer.volume.size) }}
{{- end }}
{{- end }}

{{/* The page. */}}
{{- if and $receiver.page.proxy (not $receiver.page.enabled) }}
{{- fail "receiver.page.proxy needs receiver.page.enabled=true: there is nothing behind the proxy." }}
{{- end }}

{{/* Autoscaling. */}}
{{- if ne $receiver.autoscaling.type "None" }}
{{- if ne $mode "NATS" }}
{{- fail (printf "receiver.autoscaling.type=%s needs receiver.buffer.mode=NATS: with %s, a receiver that is scaled away would leave its buffer, or has none." $receiver.autoscaling.type $mode) }}
{{- end }}
{{- if not (kindIs "invalid" $receiver.replicas) }}
{{- fail "receiver.replicas and receiver.autoscaling exclude each other: remove receiver.replicas." }}
{{- end }}
{{- if gt (int $receiver.autoscaling.minReplicas) (int $receiver.autoscaling.maxReplicas) }}
{{- fail "receiver.autoscaling.minReplicas must not be more than receiver.autoscaling.maxReplicas." }}
{{- end }}
{{- if and (eq $receiver.autoscaling.type "KEDA") (not $receiver.autoscaling.keda.serverAddress) }}
{{- fail "receiver.autoscaling.type=KEDA needs receiver.autoscaling.keda.serverAddress, the address of Prometheus." }}
{{- end }}
{{- if and (eq $receiver.autoscaling.type "HPA") (not (dig "requests" "cpu" "" $receiver.resources)) }}
{{- fail "receiver.autoscaling.type=HPA needs receiver.resources.requests.cpu, of which targetCPU is a percentage." }}
{{- end }}
{{- end }}

{{/* Ways in. */}}
{{- range $name, $front := dict "ingress" .Values.ingress "gateway" .Values.gateway }}
{{- if and $front.enabled (not (include "mandrill.host" (dict "root" $ "front" $front))) }}
{{- fail (printf "%s.enabled needs publicURL, or %s.host." $name $name) }}
{{- end }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}
{{- fail "gateway.enabled needs gateway.parentRefs, such as [{name: public, namespace: gateways}]." }}
{{- end }}
{{- if and .Values.monitoring.podMonitor .Values.monitoring.serviceMonitor }}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor would scrape everything twice: choose one." }}
{{- end }}

{{- if and .Values.uninstall.deleteObjects .Values.installation (not .Values.watchNamespaces) }}
{{- fail "uninstall.deleteObjects would delete the objects of other installations too: set watchNamespaces, or delete your objects yourself." }}
{{- end }}

{{/* Sidecars. */}}
{{- if .Values.sidecarInjection.enabled }}
{{- if semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version }}
{{- fail (printf "sidecarInjection.enabled needs Kubernetes 1.36, which has MutatingAdmissionPolicy, and the cluster has %s: add the receiver to your pods yourself, as config/samples/sidecar.yaml shows." .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if eq (int .Values.sidecarInjection.port) (int .Values.sidecarInjection.metricsPort) }}
{{- fail "sidecarInjection.port and sidecarInjection.metricsPort must differ." }}
{{- end }}
{{- if lt (include "mandrill.bytes" .Values.sidecarInjection.bufferSize | float64) 83886080.0 }}
{{- fail (printf "sidecarInjection.bufferSize is %s and must be at least 80Mi: the buffer takes 80 %% of it, and needs 64Mi." .Values.sidecarInjection.bufferSize) }}
{{- end }}
{{- end }}

{{/* What is installed. lookup finds nothing where the chart is rendered without a cluster. */}}
{{- $namespace := .Release.Namespace }}
{{- $cluster := lookup "v1" "Namespace" "" "kube-system" }}
{{- if and $cluster (not .Values.image.registry) (not (and (contains "/" .Values.operator.image.repository) (contains "/" $receiver.image.repository))) }}
{{- fail (printf "image.registry is not set: this chart is not of a release, so it names no registry with its images. Push them with make image IMAGE_PUSH=REGISTRY VERSION=%s, and set image.registry=REGISTRY. If the nodes have the images of make image already, set image.registry=mandrill-operator.io; images of another VERSION need image.tag, too." .Chart.AppVersion) }}
{{- end }}
{{- if and $cluster (not .Values.crds.install) (not (include "mandrill.crdOwner" .)) }}
{{- fail "crds.install is false, and the CRD mandrillwebhooks.mandrill-operator.io is not installed: apply config/crd first, or set crds.install=true." }}
{{- end }}
{{- with include "mandrill.crdLacks" . | trim }}
{{- $fields := splitList " " . }}
{{- fail (printf "The installed CRD mandrillwebhooks.mandrill-operator.io is older than this chart: it has no %s%s. %s" (slice $fields 0 (min 5 (len $fields) | int) | join ", ") (ternary "" (printf ", and %d more fields" (sub (len $fields) 5)) (le (len $fields) 5)) (include "mandrill.crdRemedy" $)) }}
{{- end }}
{{- if and (ne $mode "Cluster") (not $buffer.abandonCluster) (lookup "apps/v1" "StatefulSet" $namespace (printf "%s-cluster" (include "mandrill.receiver" .))) }}
{{- fail (printf "receiver.buffer.mode would change from Cluster to %s, and what waits in the cluster would not be delivered. Stop what sends to it, wait until mandrill_receiver_buffer_stored_bytes of its members is 0 for all streams, and set receiver.buffer.abandonCluster=true." $mode) }}
{{- end }}
{{- with lookup "apps/v1" "StatefulSet" $namespace (include "mandrill.workload" .) }}
{{- $size := (index .spec.volumeClaimTemplates 0).spec.resources.requests.storage }}
{{- if ne (include "mandrill.bytes" $size) (include "mandrill.bytes" $buffer.volume.size) }}
{{- fail (printf "receiver.buffer.volume.size is %s, but the StatefulSet %s was made with %s, and Kubernetes does not allow to change it. Set it back; or resize the claims, run kubectl delete statefulset %s -n %s --cascade=orphan, and upgrade again." $buffer.volume.size .metadata.name $size .metadata.name $namespace) }}
{{- end }}
{{- end }}
{{- end }}
