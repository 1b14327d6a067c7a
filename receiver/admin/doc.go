// Package admin serves what operators of a receiver use: health, metrics, the backlog and the dead letters in the buffer. It must not be
// reachable for others.
package admin
