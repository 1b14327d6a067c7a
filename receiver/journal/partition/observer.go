package partition

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/lease"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// tableKey is the key of the table, and was that of the one lease of older receivers.
	tableKey = "leader"
	// memberPrefix begins the keys of the leases of members.
	memberPrefix = "member."
)

// observer knows since when keys have not changed, by the clock of this process.
type observer struct {
	store *store.Store
	state *store.State
	lease func(key string) *lease.Election
	time  time.Duration // after which a holder is taken to be lost
	seen  map[string]sighting
}

type sighting struct {
	revision uint64
	since    time.Time
}

// isSilent reports whether a key has had the same revision for the lease time.
func (o *observer) isSilent(key string, revision uint64) bool {
	last, known := o.seen[key]
	if !known || last.revision != revision {
		o.seen[key] = sighting{revision, time.Now()}
		return false
	}
	return time.Since(last.since) >= o.time
}

// lookAt returns which members are alive: those that have a lease, and those that hold partitions in a table. A member that is silent
// is declared lost, unless it renews its lease at that moment. Gone are the members whose leases have ended.
func (o *observer) lookAt(ctx context.Context, table *Table) (alive map[string]bool, gone []string, err error) {
	leases := map[string]entry{}
	subjects := o.state.Subject(memberPrefix)
	err = o.store.Scan(ctx, o.state.Stream, subjects+">", func(msg *jetstream.RawStreamMsg) error {
		leases[strings.TrimPrefix(msg.Subject, subjects)] = entry{string(msg.Data), msg.Sequence}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, holder := range table.Holders {
		if _, found := leases[holder]; !found && holder != "" {
			leases[holder] = entry{value: holder} // a server that lags behind may not have it yet
		}
	}
	alive = map[string]bool{}
	for id, found := range leases {
		switch {
		case found.value == "":
			gone = append(gone, id)
			delete(o.seen, id)
		case o.isSilent(id, found.revision) && o.declareLost(ctx, id, found.revision) == nil:
		default:
			alive[id] = true
		}
	}
	return alive, gone, nil
}

type entry struct {
	value    string
	revision uint64
}

// declareLost ends the lease of a member. It fails if the member has renewed it since the revision.
func (o *observer) declareLost(ctx context.Context, id string, revision uint64) error {
	_, err := o.lease(memberPrefix+id).Write(ctx, "", revision)
	return err
}

// forget removes the leases of members that are gone, except those that a table names: the table is changed first.
func (o *observer) forget(ctx context.Context, gone []string, table *Table) error {
	named := map[string]bool{}
	for _, holder := range table.Holders {
		named[holder] = true
	}
	var errs []error
	for _, id := range gone {
		if !named[id] {
			errs = append(errs, o.state.Remove(ctx, memberPrefix+id))
		}
	}
	return errors.Join(errs...)
}
