// Package e2e has the end-to-end tests: the chart and the images on a real cluster, with an emulated Mandrill in it. make e2e runs them.
package e2e
