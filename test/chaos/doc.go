// Package chaos has only tests. They inject faults into receivers with a buffer, and check from outside that no event is lost.
package chaos
