package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Faults returns the settings of a stream under which data would be lost or refused.
func Faults(have, want jetstream.StreamConfig) []string {
	var faults []string
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, text)
		}
	}
	fault(have.Storage != jetstream.FileStorage, "storage must be file")
	fault(have.Retention != jetstream.LimitsPolicy, "retention must be limits")
	fault(want.Discard == jetstream.DiscardNew && have.Discard != jetstream.DiscardNew, "discard must be new")
	fault(have.MaxAge != 0 && want.MaxAge == 0, "max_age must be unlimited")
	fault(have.MaxAge != 0 && have.MaxAge < want.MaxAge, "max_age must be at least "+want.MaxAge.String())
	fault(have.MaxMsgs > 0, "max_msgs must be unlimited")
	fault(have.MaxMsgsPerSubject > 0 && want.MaxMsgsPerSubject < 0, "max_msgs_per_subject must be unlimited")
	fault(have.MaxMsgsPerSubject < 1 && want.MaxMsgsPerSubject == 1, "max_msgs_per_subject must be 1")
	fault(have.MaxMsgSize > 0, "max_msg_size must be unlimited")
	fault(have.MaxConsumers > 0, "max_consumers must be unlimited")
	fault(have.NoAck, "no_ack must be off")
	fault(have.Sealed || have.DenyDelete && !want.DenyDelete || have.DenyPurge, "deletion must be allowed")
	fault(have.Mirror != nil || len(have.Sources) > 0, "it must be no mirror, and have no sources")
	fault(have.SubjectTransform != nil, "it must have no subject transform")
	fault(have.Duplicates < want.Duplicates, "duplicate_window must be at least "+want.Duplicates.String())
	fault(want.AllowRollup && !have.AllowRollup, "allow_rollup_hdrs must be on")
	fault(have.PersistMode != want.PersistMode, "persist_mode must be default")
	fault(have.Replicas < want.Replicas, fmt.Sprintf("num_replicas must be at least %d, or --buffer-replicas lower", want.Replicas))
	fault(have.Replicas > 1 && have.AllowDirect, "allow_direct must be off, because replicas may lag behind")
	fault(!slices.Equal(slices.Sorted(slices.Values(have.Subjects)), want.Subjects), "its subjects must be "+strings.Join(want.Subjects, " and "))
	return faults
}
