// Package recent keeps the last attempts to deliver events in memory, for the person who looks: the admin socket, receiver events and
// the page show them.
//
// A [Ring] has a fixed number of entries, which new ones overwrite. It holds metadata; the CloudEvent itself only while somebody asks
// for it, within a budget. Recording never waits for a reader: a [Follower] reads at its own pace, and counts what was overwritten
// before it could read it. So nothing here can delay a delivery.
package recent
