// Package chaos has no code of its own: its tests do harm to receivers with a buffer and look whether events were lost.
package chaos
