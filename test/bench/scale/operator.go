package main

import "github.com/mandrill-operator/mandrill-operator/test/bench/harness"

// reconciled returns how many reconciles have succeeded.
func reconciled(m harness.Metrics) int {
	controller := `controller="mandrillwebhook"`
	return int(m.Sum("controller_runtime_reconcile_total", controller, `result="success"`) +
		m.Sum("controller_runtime_reconcile_total", controller, `result="requeue_after"`))
}

// isIdle reports whether no object is being reconciled or queued.
func isIdle(m harness.Metrics) bool {
	return m.Sum("workqueue_depth", `name="mandrillwebhook"`)+
		m.Sum("controller_runtime_active_workers", `controller="mandrillwebhook"`) == 0
}
