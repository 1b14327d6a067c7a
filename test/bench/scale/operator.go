package main

import "github.com/mandrill-operator/mandrill-operator/test/bench/harness"

// reconciled returns how many reconciles have succeeded, or wait for something.
func reconciled(m harness.Metrics) int {
	return int(m.Sum("mandrill_operator_reconciles_total", `result="succeeded"`) + m.Sum("mandrill_operator_reconciles_total", `result="waiting"`))
}

// isIdle reports whether no object is being reconciled or queued.
func isIdle(m harness.Metrics) bool {
	return m.Sum("workqueue_depth", `name="mandrillwebhook"`)+m.Sum("mandrill_operator_reconciles", `state="waiting"`)+
		m.Sum("mandrill_operator_reconciles", `state="running"`) == 0
}
