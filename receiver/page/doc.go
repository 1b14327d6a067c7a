// Package page serves a page that shows the flow from Mandrill to the sinks: state, recent events, the backlog and dead letters.
//
// The page has no login. It is for a loopback address, or for a proxy that asks who comes. The handler refuses what another site could
// make a browser do: requests with an unknown Host (DNS rebinding), and changes without a header that only the page's own script sets.
// It has no state of its own, and each stream has an upper bound for what it sends in a second.
package page
