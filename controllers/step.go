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
// [Stalled], [Transient] or another error.
//
// [Run] sets the step's Condition from what it returns; when several steps have the same one, it is True once the last
// of them has succeeded. A condition that says nothing about the success of a step, such as Mandrill's own view of
// its deliveries, belongs to no step: whichever step learns of it sets it by [Conditions.Set].
type Step[S any] struct {
	Condition string
	Run       func(context.Context, S) error
	// Continue makes the next step run although this one has failed, to do what it can without it. The conditions of
	// the next step then change only if that fails too.
	Continue bool
}

// Run runs steps in order up to the first that fails, and returns its error. An error that is [Tolerated] does not end it. Conditions of steps that were not
// reached stay as they are, or become Unknown if they were never set. After [Unchecked] all conditions stay as they are.
func Run[S any](ctx context.Context, state S, conditions *Conditions, steps ...Step[S]) error {
	var tolerated error
	for i, step := range steps {
		later := steps[i+1:]
		err := step.Run(ctx, state)
		if err == nil {
			shares := func(other Step[S]) bool { return other.Condition == step.Condition }
			if !slices.ContainsFunc(later, shares) {
				conditions.Set(step.Condition, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
			}
			continue
		}
		if isUnchecked(err) {
			return err
		}
		conditions.fail(step.Condition, err)
		if isTolerated(err) {
			tolerated = err
			continue
		}
		if step.Continue && len(later) > 0 {
			if nextErr := later[0].Run(ctx, state); nextErr != nil {
				conditions.fail(later[0].Condition, nextErr)
				err = nextErr // what it could not do must be tried again
			}
		}
		for _, step := range later {
			conditions.initialise(step.Condition)
		}
		return err
	}
	return tolerated
}
