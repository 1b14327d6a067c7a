package journal

import (
	"testing"
	"time"
)

// The inequalities between time limits that the package comment lists.
func TestTimeLimits(t *testing.T) {
	t.Parallel()
	s := &session{leaseTime: DefaultLeaseTime, requests: requestsFor(false)}
	leaseCtx, cancel := s.withLeaseTimeout(t.Context())
	defer cancel()
	deadline, _ := leaseCtx.Deadline()
	leaseRequest := time.Until(deadline).Round(100 * time.Millisecond)
	shared, exclusive := requestsFor(false), requestsFor(true)
	for _, chain := range []struct {
		why    string
		limits []time.Duration // each is less than the next
	}{
		{"a later limit includes the earlier ones", []time.Duration{minPause, shared.attempt, shared.timeout, shared.retryFor, clusterRecoveryTimeout, openTimeout}},
		{"a batch survives one election", []time.Duration{longestElection, appendTimeout, shared.retryFor}},
		{"an append has time for several attempts", []time.Duration{4 * (shared.attempt + minPause), appendTimeout}},
		{"a slow disk fails an append first", []time.Duration{appendTimeout, exclusive.timeout}},
		{"an exclusive buffer is asked once", []time.Duration{exclusive.retryFor, 1}},
		{"an exclusive buffer has no replicas", []time.Duration{exclusive.replicaLag, 1}},
		{"a leader survives three lost requests", []time.Duration{s.renewInterval() + 3*leaseRequest, s.yieldAfter()}},
		{"a leader stops before the next one starts", []time.Duration{s.yieldAfter() + leaseRequest + leasePollInterval, s.leaseTime}},
		{"a request of the lease is one of the buffer", []time.Duration{leaseRequest, shared.timeout}},
		{"a lost consumer is noticed before the leader is asked", []time.Duration{2 * watchHeartbeat, askLeaderAfter, watchExpiry, watchInactive}},
		{"another consumer is found while one elects", []time.Duration{askLeaderAfter + shared.timeout, shared.retryFor}},
		{"a lagging replica catches up within a request", []time.Duration{replicaLagInterval, shared.replicaLag, shared.timeout}},
		{"an object gets its message before it is garbage", []time.Duration{appendTimeout, putTimeout, copyTimeout, gcInterval}},
		{"a page is read while its consumer exists", []time.Duration{progressInterval, pageConsumerTime}},
		{"a batch that Mandrill retries is a duplicate", []time.Duration{mandrillRetries, duplicateWindow}},
		{"a failed buffer is tried soon", []time.Duration{minPause, maxPause, checkInterval}},
	} {
		for i, limit := range chain.limits[1:] {
			if before := chain.limits[i]; before >= limit {
				t.Errorf("%s: %s is not less than %s", chain.why, before, limit)
			}
		}
	}
}
