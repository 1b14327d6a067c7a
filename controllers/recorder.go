package controllers

import (
	"fmt"
	"hash/crc32"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// Distinct returns a recorder that records Events with different texts as different Events. client-go takes Events about the same
// object with the same reason and action for repetitions of the first, and drops their texts, so the text becomes a part of the
// action.
func Distinct(recorder events.EventRecorder) events.EventRecorder { return distinct{recorder} }

type distinct struct{ next events.EventRecorder }

// Eventf implements [events.EventRecorder].
func (d distinct) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	text := fmt.Sprintf(note, args...)
	d.next.Eventf(regarding, related, kind, reason, fmt.Sprintf("%s-%08x", action, crc32.ChecksumIEEE([]byte(text))), "%s", text)
}
