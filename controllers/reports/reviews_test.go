package reports

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

// apiServer answers TokenReviews.
type apiServer struct {
	client.Writer

	status authenticationv1.TokenReviewStatus
	fault  error
	asked  int
	wait   chan struct{} // nil: answers at once
}

func (a *apiServer) Create(ctx context.Context, object client.Object, _ ...client.CreateOption) error {
	a.asked++
	review := object.(*authenticationv1.TokenReview)
	if len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != form.Audience {
		return fmt.Errorf("asked for the audiences %v", review.Spec.Audiences)
	}
	if a.wait != nil {
		select {
		case <-a.wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	review.Status = a.status
	return a.fault
}

func accepted(account string, pods ...string) authenticationv1.TokenReviewStatus {
	status := authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{form.Audience}}
	status.User.Username = account
	if len(pods) > 0 {
		status.User.Extra = map[string]authenticationv1.ExtraValue{podNameExtra: pods}
	}
	return status
}

type reviewing struct {
	*Reviews
	server *apiServer
	now    time.Time
}

func newReviewing(status authenticationv1.TokenReviewStatus) *reviewing {
	r := &reviewing{server: &apiServer{status: status}, now: start}
	r.Reviews = NewReviews(r.server, NewMetrics(prometheus.NewRegistry()), func() time.Time { return r.now })
	return r
}

func TestTokensOfServiceAccountsOnly(t *testing.T) {
	t.Parallel()
	other := accepted("system:serviceaccount:shop:consumer")
	other.Audiences = []string{"https://kubernetes.default.svc"}
	none := accepted("system:serviceaccount:shop:consumer")
	none.Audiences = nil
	refused := accepted("system:serviceaccount:shop:consumer")
	refused.Authenticated = false
	for name, test := range map[string]struct {
		token  string
		status authenticationv1.TokenReviewStatus
		want   Reporter
	}{
		"a pod's":             {"a.b.c", accepted("system:serviceaccount:shop:consumer", "consumer-1"), Reporter{"shop", "consumer", "consumer-1"}},
		"without a pod":       {"a.b.c", accepted("system:serviceaccount:shop:consumer"), Reporter{"shop", "consumer", ""}},
		"of two pods":         {"a.b.c", accepted("system:serviceaccount:shop:consumer", "a", "b"), Reporter{"shop", "consumer", ""}},
		"no JWT":              {"abc", accepted("system:serviceaccount:shop:consumer"), Reporter{}},
		"another audience":    {"a.b.c", other, Reporter{}},
		"no audience":         {"a.b.c", none, Reporter{}},
		"refused":             {"a.b.c", refused, Reporter{}},
		"a user's":            {"a.b.c", accepted("admin"), Reporter{}},
		"half an account's":   {"a.b.c", accepted("system:serviceaccount:shop"), Reporter{}},
		"an account's of ''":  {"a.b.c", accepted("system:serviceaccount::consumer"), Reporter{}},
		"a user named like x": {"a.b.c", accepted("x:system:serviceaccount:shop:consumer"), Reporter{}},
	} {
		got, err := newReviewing(test.status).Reporter(t.Context(), test.token)
		if got != test.want || (err == nil) != (test.want != Reporter{}) || err != nil && !errors.Is(err, errUnauthenticated) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestAnswersOfTheAPIServerAreRemembered(t *testing.T) {
	t.Parallel()
	good := newReviewing(accepted("system:serviceaccount:shop:consumer"))
	bad := newReviewing(authenticationv1.TokenReviewStatus{})
	for range 100 {
		if _, err := good.Reporter(t.Context(), "a.b.c"); err != nil {
			t.Fatal(err)
		}
		if _, err := bad.Reporter(t.Context(), "a.b.c"); !errors.Is(err, errUnauthenticated) {
			t.Fatal(err)
		}
	}
	if good.server.asked != 1 || bad.server.asked != 1 {
		t.Errorf("the API server was asked %d and %d times", good.server.asked, bad.server.asked)
	}
	good.now, bad.now = start.Add(reviewMemory), start.Add(refusalMemory)
	good.server.status = authenticationv1.TokenReviewStatus{} // the account was deleted
	if _, err := good.Reporter(t.Context(), "a.b.c"); !errors.Is(err, errUnauthenticated) {
		t.Errorf("a token that is not valid any more: %v", err)
	}
	bad.server.status = accepted("system:serviceaccount:shop:consumer")
	if _, err := bad.Reporter(t.Context(), "a.b.c"); err != nil {
		t.Errorf("a token that has become valid: %v", err)
	}
}

// Anybody can send tokens: they cost the API server a bounded number of requests, and displace no token that was good.
func TestForgedTokensAreBounded(t *testing.T) {
	t.Parallel()
	r := newReviewing(accepted("system:serviceaccount:system:mandrill-receiver"))
	if _, err := r.Reporter(t.Context(), "good.to.ken"); err != nil {
		t.Fatal(err)
	}
	r.server.status = authenticationv1.TokenReviewStatus{}
	for i := range 10000 {
		if _, err := r.Reporter(t.Context(), fmt.Sprintf("a.b.%d", i)); err == nil {
			t.Fatal("a forged token was accepted")
		}
	}
	if r.server.asked > reviewsBurst {
		t.Errorf("the API server was asked %d times", r.server.asked)
	}
	if len(r.refused) > maxRefused {
		t.Errorf("%d are remembered", len(r.refused))
	}
	if got := testutil.ToFloat64(r.metrics.reviews.WithLabelValues("limited")); got < 9000 {
		t.Errorf("%v were not asked about", got)
	}
	for range 10 { // meanwhile the good one counts for longer
		r.now = r.now.Add(time.Minute - time.Second)
		r.rate.AllowN(r.now, reviewsBurst) // the API server cannot be asked
		if _, err := r.Reporter(t.Context(), "good.to.ken"); err != nil {
			t.Fatalf("after %s: %v", r.now.Sub(start), err)
		}
	}
	r.now = start.Add(staleMemory)
	if _, err := r.Reporter(t.Context(), "good.to.ken"); err == nil {
		t.Error("it counts for ever")
	}
}

func TestAnAPIServerThatDoesNotAnswerRefusesNobody(t *testing.T) {
	t.Parallel()
	r := newReviewing(accepted("system:serviceaccount:system:mandrill-receiver"))
	r.server.fault = errors.New("down")
	if _, err := r.Reporter(t.Context(), "a.b.c"); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
	r.server.fault = nil
	if _, err := r.Reporter(t.Context(), "a.b.c"); err != nil {
		t.Errorf("once it answers: %v", err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	entries := map[int]int{}
	for i := range 5000 {
		makeRoom(entries, 100, func(age int) bool { return age < i-1000 })
		entries[i] = i
	}
	if len(entries) > 100 {
		t.Errorf("%d entries", len(entries))
	}
}
