// Package gitops has the test of installing and changing everything by Git, with Flux's own controllers. make test-gitops runs it.
package gitops
