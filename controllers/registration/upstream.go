package registration

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// SameUpstream reports whether two reports of Mandrill are equal.
func SameUpstream(a, b v1alpha1.Upstream) bool {
	return a.CreatedAt.Equal(b.CreatedAt) && a.LastSentAt.Equal(b.LastSentAt) && a.BatchesSent == b.BatchesSent &&
		a.EventsSent == b.EventsSent && a.LastError == b.LastError
}

// OptionalTime returns a time of Mandrill's in whole seconds, nil for none.
func OptionalTime(t mandrill.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	whole := metav1.NewTime(t.Truncate(1e9))
	return &whole
}
