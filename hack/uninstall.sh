#!/usr/bin/env bash
# Removes what make install, and config/sidecar-injection, made from the cluster of the current kubectl context, in the order that works: first the
# MandrillWebhooks, while the operator runs and deletes their webhooks at Mandrill, then the operator, and the CRD last.
# Arguments are flags of "operator uninstall". Nothing else is removed unless all MandrillWebhooks are gone.
set -euo pipefail
cd "$(dirname "$0")/.."
namespace=mandrill-operator-system

echo "Deleting all MandrillWebhooks of the context $(kubectl config current-context)"
"${OPERATOR:-bin/operator}" uninstall "$@"

if kubectl api-resources --api-group=admissionregistration.k8s.io --output name | grep '^mutatingadmissionpolicies\.' >/dev/null; then
	echo "Deleting the policies that inject the receiver into pods, if there are any"
	kubectl delete --ignore-not-found --kustomize config/sidecar-injection
fi
claims=$(kubectl get persistentvolumeclaims --namespace "$namespace" --ignore-not-found --output name)
if [ -z "$claims" ]; then
	echo "Deleting the namespace $namespace, with the operator and the receiver in it"
	kubectl delete namespace "$namespace" --ignore-not-found --wait=false
else
	echo "The namespace $namespace stays, because a buffer may have undelivered events on these volumes:"
	echo "$claims"
	echo "Once you do not need them: kubectl delete namespace $namespace"
fi
kubectl delete --ignore-not-found validatingadmissionpolicies,validatingadmissionpolicybindings mandrill-operator-scale-in
echo "Deleting the service accounts and roles, and the CRD"
kubectl delete --ignore-not-found --kustomize config/rbac
kubectl delete --ignore-not-found --kustomize config/crd
if [ -z "$claims" ] && ! kubectl wait --for=delete "namespace/$namespace" --timeout="${NAMESPACE_TIMEOUT:-5m}"; then
	echo "The namespace $namespace is not gone yet, and make install fails until it is. kubectl get namespace $namespace --output yaml says why"
	exit 1
fi
