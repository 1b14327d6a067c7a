package main

import (
	"net"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// leaseDuration is how long another operator waits after a crash. An operator that stops releases the Lease.
	leaseDuration = 35 * time.Second
	// renewDeadline is for how long the API server may not answer before the operator gives up the Lease and ends. A restart would add
	// load where there is too much: it lists everything and reconciles all objects.
	renewDeadline = 30 * time.Second
	// renewPeriod leaves time for several attempts, each of which takes half of renewDeadline at most.
	renewPeriod = 5 * time.Second
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 5 * time.Second
)

// elect configures leader election. Its requests have connections of their own, on which they wait for no others: hundreds of requests
// share the connection of the controllers, as do watches.
func elect(managed *ctrl.Options, config *rest.Config, o options) {
	own := rest.CopyConfig(config)
	own.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext // clients with a Dial share no connections
	duration, deadline, period := leaseDuration, renewDeadline, renewPeriod
	managed.LeaderElection = o.leaderElect
	managed.LeaderElectionConfig = own
	managed.LeaderElectionID = o.leaderElectionID
	managed.LeaderElectionNamespace = o.leaderElectionNS
	managed.LeaderElectionReleaseOnCancel = true
	managed.LeaseDuration, managed.RenewDeadline, managed.RetryPeriod = &duration, &deadline, &period
}
