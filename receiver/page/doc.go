// Package page serves a page that shows the flow from Mandrill to the sinks: state, recent events, the backlog and dead letters.
//
// Package site has its files and its guard. It has no state of its own, and each stream has an upper bound for what it sends in a second.
package page
