package v1alpha1

import _ "embed" // conditions.go

//go:embed conditions.go
var conditions string

// ConditionsSource returns conditions.go, whose comments say of every condition and reason what it means and what the user does about it.
func ConditionsSource() string { return conditions }
