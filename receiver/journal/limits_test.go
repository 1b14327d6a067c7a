package journal

import (
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/watch"
)

// The inequalities between time limits that the package comment lists.
func TestTimeLimits(t *testing.T) {
	t.Parallel()
	shared, exclusive := store.PolicyFor(false), store.PolicyFor(true)
	election := &lease.Election{Time: lease.DefaultTime, Timeout: shared.Timeout}
	leaseRequest := election.RequestTimeout()
	for _, chain := range []struct {
		why    string
		limits []time.Duration // each is less than the next
	}{
		{"a later limit includes the earlier ones", []time.Duration{store.MinPause, shared.Attempt, shared.Timeout, shared.RetryFor, clusterRecoveryTimeout, openTimeout}},
		{"a batch survives one election", []time.Duration{longestElection, appendTimeout, shared.RetryFor}},
		{"an append has time for several attempts", []time.Duration{4 * (shared.Attempt + store.MinPause), appendTimeout}},
		{"a slow disk fails an append first", []time.Duration{appendTimeout, exclusive.Timeout}},
		{"an exclusive buffer is asked once", []time.Duration{exclusive.RetryFor, 1}},
		{"an exclusive buffer has no replicas", []time.Duration{exclusive.ReplicaLag, 1}},
		{"a leader survives three lost requests", []time.Duration{election.RenewInterval() + 3*leaseRequest, election.YieldAfter()}},
		{"a leader stops before the next one starts", []time.Duration{election.YieldAfter() + leaseRequest + lease.PollInterval, election.Time}},
		{"a new process sees the others before it takes partitions", []time.Duration{lease.PollInterval, partition.Settling, election.RenewInterval()}},
		{"a request of the lease is one of the buffer", []time.Duration{leaseRequest, shared.Timeout}},
		{"a lost consumer is noticed before the leader is asked", []time.Duration{2 * watch.Heartbeat, watch.AskLeaderAfter, watch.Expiry, watch.Inactive}},
		{"another consumer is found while one elects", []time.Duration{watch.AskLeaderAfter + shared.Timeout, shared.RetryFor}},
		{"a lagging replica catches up within a request", []time.Duration{shared.ReplicaLag, shared.Timeout}},
		{"an object gets its message before it is garbage", []time.Duration{appendTimeout, store.CopyTimeout, gcInterval}},
		{"a batch that Mandrill retries is a duplicate", []time.Duration{mandrillRetries, streams.DuplicateWindow}},
		{"a failed buffer is tried soon", []time.Duration{store.MinPause, store.MaxPause, checkInterval}},
	} {
		for i, limit := range chain.limits[1:] {
			if before := chain.limits[i]; before >= limit {
				t.Errorf("%s: %s is not less than %s", chain.why, before, limit)
			}
		}
	}
}
