package v1alpha1

// These types make the resource a Knative source. They are not imported from knative.dev/pkg, which brings a second
// controller framework; a test decodes our objects with Knative's own types.

// Destination is where events go: a reference to an object that has an address, or an absolute URI, or a reference
// with a relative URI, which is joined to the object's address.
//
// +kubebuilder:validation:XValidation:rule="has(self.ref) || has(self.uri)",message="a sink needs ref or uri: write ref with apiVersion, kind and name, or uri with an absolute URL"
// +kubebuilder:validation:XValidation:rule="!(has(self.ref) && has(self.uri) && self.uri.matches('^([A-Za-z][A-Za-z0-9+.-]*:|//)'))",message="a sink has either ref or an absolute uri: leave out one of them, or make uri a path such as /events, which is joined to the address of ref"
// +kubebuilder:validation:XValidation:rule="has(self.ref) || !has(self.uri) || (self.uri.matches('^https?://[^/?#]+') && isURL(self.uri))",message="without ref, uri must be absolute: write http://host/path or https://host/path"
// +kubebuilder:validation:XValidation:rule="!has(self.uri) || self.uri.matches('^[!-~]*$')",message="uri has a space, a control character or a letter outside of ASCII: percent-encode it, or take it out"
// +kubebuilder:validation:XValidation:rule="!has(self.uri) || !self.uri.contains('#')",message="uri has a fragment, which is never sent: leave out the # and what comes after it"
type Destination struct {
	// Ref names a core Service or any object that publishes its address in status.address.url.
	//
	// +optional
	Ref *Reference `json:"ref,omitempty"`
	// URI is absolute, or relative to the address of Ref.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	URI string `json:"uri,omitempty"`
	// CACerts are certificates, PEM, that are trusted in addition to the system's.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CACerts string `json:"CACerts,omitempty"`
	// Audience of the OIDC token that is sent with the events. Default: the audience that Ref publishes.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Audience string `json:"audience,omitempty"`
}

// Reference names an object.
type Reference struct {
	// APIVersion of the object, such as v1 or eventing.knative.dev/v1.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion"`
	// Kind of the object, such as Service or Broker.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Name of the object.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Namespace of the object. Default: that of the MandrillWebhook.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// CloudEventOverrides changes CloudEvents before they are sent.
type CloudEventOverrides struct {
	// Extensions are set on every event and replace extensions of the same name.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.matches('^[a-z0-9]{1,20}$'))",message="an extension is named in 1 to 20 lower case letters and digits, such as env"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !(name in ['id', 'source', 'specversion', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'data', 'data_base64']))",message="ceOverrides sets extensions only: the attributes id, source, specversion, type, subject, time, datacontenttype, dataschema and data cannot be overridden"
	Extensions map[string]ExtensionValue `json:"extensions,omitempty"`
}

// ExtensionValue is the value of a CloudEvents extension.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=1024
type ExtensionValue string

// CloudEventAttributes are a type and the source of the CloudEvents that are sent.
type CloudEventAttributes struct {
	// Type of the CloudEvents.
	Type string `json:"type"`
	// Source of the CloudEvents.
	Source string `json:"source"`
}
