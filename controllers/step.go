// Package controllers is what every reconcile shares: ordered steps, the classes of their errors, and the
// conditions that follow from them.
package controllers

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Step is one part of a reconcile. It reads the world, compares, acts at most once and returns nil, [Waiting],
// [Stalled], [Transient] or another error. It owns a condition, which follows from what it returns; when
// several steps own the same one, it is True when the last of them succeeds.
type Step[S any] struct {
	Condition string
	Run       func(context.Context, S) error
}

// Run runs steps in order up to the first that fails, and returns its error. Conditions of steps that were not
// reached stay as they are, or become Unknown when they never were.
func Run[S any](ctx context.Context, state S, conditions *Conditions, steps ...Step[S]) error {
	for i, step := range steps {
		if err := step.Run(ctx, state); err != nil {
			conditions.fail(step.Condition, err)
			for _, later := range steps[i+1:] {
				conditions.initialise(later.Condition)
			}
			return err
		}
		owns := func(later Step[S]) bool { return later.Condition == step.Condition }
		if !slices.ContainsFunc(steps[i+1:], owns) {
			conditions.Set(step.Condition, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
		}
	}
	return nil
}
