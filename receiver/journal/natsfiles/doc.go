// Package natsfiles knows the private file formats of an embedded nats-server.
package natsfiles
