// Package mapping turns events of Mandrill into CloudEvents: their types, ids and attributes. It is pure: no I/O and no
// clock.
package mapping
