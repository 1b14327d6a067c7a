package mandrillwebhook

import (
	"encoding/json"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const (
	// gracePeriod is how long a URL or key that was replaced is still accepted: three times as long as Mandrill sends a
	// batch again.
	gracePeriod = 24 * time.Hour
	// maxPrevious bounds the retired identities of an object that changes all the time.
	maxPrevious = 8
)

// identity is what a batch is verified with: the registered URL and a key.
type identity struct {
	URL string `json:"url"`
	Key string `json:"key"`
}

// usable reports whether a route may have it. One that may not would keep all routes from being written.
func (i identity) usable() bool { return routes.Usable(i.URL, i.Key) }

// retired is an identity that was replaced.
type retired struct {
	identity
	Until metav1.Time `json:"until"` // accepted until then
}

// decodeRetired decodes the retired identities of a Secret, without those that have expired or cannot be used.
func decodeRetired(data []byte, now time.Time) []retired {
	var list []retired
	if len(data) > 0 && json.Unmarshal(data, &list) != nil {
		return nil
	}
	return slices.DeleteFunc(list, func(r retired) bool { return !now.Before(r.Until.Time) || !r.usable() })
}

// retire adds the stored identity to a list if the present one replaces it.
func retire(list []retired, stored, present identity, now time.Time) []retired {
	list = slices.DeleteFunc(slices.Clone(list), func(r retired) bool { return r.identity == present || r.identity == stored })
	if stored != present && stored.Key != "" {
		list = append(list, retired{stored, metav1.NewTime(now.Add(gracePeriod).Truncate(time.Second))})
	}
	return list[max(0, len(list)-maxPrevious):]
}

// nextExpiry is the time until the first of the retired identities expires, zero if there is none.
func nextExpiry(list []retired, now time.Time) time.Duration {
	var next time.Duration
	for _, r := range list {
		if left := r.Until.Sub(now); next == 0 || left < next {
			next = left
		}
	}
	return next
}
