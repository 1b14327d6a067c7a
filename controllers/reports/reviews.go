package reports

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	// reviewMemory is how long the API server's word about a token counts. While it cannot be asked, it counts for staleMemory.
	reviewMemory = time.Minute
	staleMemory  = 10 * time.Minute
	// refusalMemory is how long a token that was refused is not shown to the API server again.
	refusalMemory = 10 * time.Second
	// maxAccepted and maxRefused bound what is remembered. Tokens that are refused push out no others.
	maxAccepted = 20000
	maxRefused  = 1024
	// Reviews at a time and per second: anybody can send tokens.
	maxReviews       = 4
	reviewsPerSecond = 20
	reviewsBurst     = 200 // as after a start with many sidecars
	reviewTimeout    = 5 * time.Second
	// podNameExtra is where the API server puts the name of the pod that a token is bound to.
	podNameExtra = "authentication.kubernetes.io/pod-name"
	accountUser  = "system:serviceaccount:"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// Reviews asks the API server whose a token is. It remembers hashes of tokens only.
type Reviews struct {
	client  client.Writer
	metrics *Metrics
	now     func() time.Time
	slots   chan struct{}
	rate    *rate.Limiter

	mu       sync.Mutex
	accepted map[[sha256.Size]byte]review
	refused  map[[sha256.Size]byte]time.Time // when
}

type review struct {
	reporter Reporter
	at       time.Time
}

// NewReviews returns reviews by a client that may create TokenReviews.
func NewReviews(writer client.Writer, metrics *Metrics, now func() time.Time) *Reviews {
	return &Reviews{
		client: writer, metrics: metrics, now: now, slots: make(chan struct{}, maxReviews),
		rate:     rate.NewLimiter(reviewsPerSecond, reviewsBurst),
		accepted: map[[sha256.Size]byte]review{}, refused: map[[sha256.Size]byte]time.Time{},
	}
}

// Reporter returns whose a token is.
func (r *Reviews) Reporter(ctx context.Context, token string) (Reporter, error) {
	if strings.Count(token, ".") != 2 { // tokens of ServiceAccounts are JWTs
		return Reporter{}, errUnauthenticated
	}
	hash, now := sha256.Sum256([]byte(token)), r.now()
	r.mu.Lock()
	known, ok := r.accepted[hash]
	refused, wasRefused := r.refused[hash]
	r.mu.Unlock()
	switch {
	case ok && now.Sub(known.at) < reviewMemory:
		return known.reporter, nil
	case wasRefused && now.Sub(refused) < refusalMemory:
		return Reporter{}, errUnauthenticated
	}
	reporter, err := r.review(ctx, token, hash)
	if err == errBusy && ok && now.Sub(known.at) < staleMemory { //nolint:errorlint // our own
		return known.reporter, nil
	}
	return reporter, err
}

// review asks the API server, unless it was asked too often. It returns errBusy if there is no answer.
func (r *Reviews) review(ctx context.Context, token string, hash [sha256.Size]byte) (Reporter, error) {
	if !r.rate.AllowN(r.now(), 1) {
		r.metrics.reviews.WithLabelValues("limited").Inc()
		return Reporter{}, errBusy
	}
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return Reporter{}, errBusy
	}
	defer func() { <-r.slots }()
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	asked := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{form.Audience}}}
	if err := r.client.Create(ctx, asked); err != nil {
		r.metrics.reviews.WithLabelValues("failed").Inc()
		log.FromContext(ctx).V(1).Info("Could not ask the API server for a receiver's token", "error", err.Error())
		return Reporter{}, errBusy
	}
	reporter, ok := reporterOf(asked.Status)
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok {
		r.metrics.reviews.WithLabelValues("refused").Inc()
		delete(r.accepted, hash)
		makeRoom(r.refused, maxRefused, func(at time.Time) bool { return now.Sub(at) >= refusalMemory })
		r.refused[hash] = now
		return Reporter{}, errUnauthenticated
	}
	r.metrics.reviews.WithLabelValues("authenticated").Inc()
	makeRoom(r.accepted, maxAccepted, func(known review) bool { return now.Sub(known.at) >= staleMemory })
	r.accepted[hash] = review{reporter, now}
	return reporter, nil
}

// makeRoom removes old entries of a map that is full, or any entry if none is old.
func makeRoom[K comparable, V any](entries map[K]V, most int, isOld func(V) bool) {
	if len(entries) < most {
		return
	}
	for key, value := range entries {
		if isOld(value) {
			delete(entries, key)
		}
	}
	for key := range entries {
		if len(entries) < most {
			return
		}
		delete(entries, key)
	}
}

// reporterOf returns the ServiceAccount that a review found, if the token is one's and meant for reports. An API server that
// does not know audiences returns none, and its word does not count.
func reporterOf(status authenticationv1.TokenReviewStatus) (Reporter, bool) {
	account, ok := strings.CutPrefix(status.User.Username, accountUser)
	namespace, name, named := strings.Cut(account, ":")
	if !status.Authenticated || !ok || !named || namespace == "" || name == "" || !slices.Contains(status.Audiences, form.Audience) {
		return Reporter{}, false
	}
	reporter := Reporter{Namespace: namespace, ServiceAccount: name}
	if pods := status.User.Extra[podNameExtra]; len(pods) == 1 {
		reporter.Pod = pods[0]
	}
	return reporter, true
}
