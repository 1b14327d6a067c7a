// Package routing holds the routes in use: which webhook a request is for, and where the events of a webhook go.
package routing
