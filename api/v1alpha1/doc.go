// Package v1alpha1 is the API for users: the MandrillWebhook resource of the group mandrill-operator.io.
//
// The resource follows Knative's conventions for event sources and kstatus's for conditions.
//
// +kubebuilder:object:generate=true
// +groupName=mandrill-operator.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion names the API.
var GroupVersion = schema.GroupVersion{Group: "mandrill-operator.io", Version: "v1alpha1"}

// AddToScheme adds the API's types to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &MandrillWebhook{}, &MandrillWebhookList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
