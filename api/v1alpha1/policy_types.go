package v1alpha1

// AdoptionPolicy says what happens to a webhook that exists at the object's URL.
//
// +kubebuilder:validation:Enum=Adopt;Refuse
type AdoptionPolicy string

// The adoption policies.
const (
	AdoptionAdopt  AdoptionPolicy = "Adopt"
	AdoptionRefuse AdoptionPolicy = "Refuse"
)

// DeletionPolicy says what happens to the webhook at Mandrill when its object is deleted.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionDelete DeletionPolicy = "Delete"
	DeletionRetain DeletionPolicy = "Retain"
)
