package partition

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// change is a table that is to replace another one, and what this member does when it has.
type change struct {
	table *Table
	needs bool  // something has changed
	start []int // partitions that this member takes
}

// step looks at the table and the members, and changes the table if something is to do. It reports false when another member has changed
// the table at the same time. Without an answer it does nothing: there is another step, or the lease ends.
func (m *member) step(ctx, held context.Context) (done bool) {
	value, revision, err := m.table.Read(held)
	if err != nil {
		return true
	}
	before := value != "" && !isTable(value)
	if before && !m.observer.isSilent(tableKey, revision) { // it delivers all
		m.waitForOlder()
		return true
	}
	if before {
		value = ""
	}
	m.waiting = false
	table, err := parseTable(value, m.Count)
	if err != nil {
		m.Logger.Error("Could not share the delivery of the buffer", "error", err.Error())
		return true
	}
	if value != "" {
		m.Before(false)
	}
	m.loseTaken(table)
	m.stopMoving(table)
	alive, gone, err := m.lookAt(held, table)
	if err != nil {
		return true
	}
	if !alive[m.ID] { // the others have declared this member lost, or the server does not have its lease yet
		if slices.Contains(gone, m.ID) {
			m.loseAll()
		}
		return true
	}
	next := m.next(ctx, table, alive)
	if !next.needs {
		m.forget(held, gone, table)
		return true
	}
	if _, err := m.table.Write(held, next.table.encode(), revision); err != nil {
		return !store.IsTaken(err)
	}
	m.written = time.Now()
	m.Before(false)
	m.apply(ctx, held, next)
	m.forget(held, gone, next.table)
	return true
}

func (m *member) lookAt(ctx context.Context, table *Table) (alive map[string]bool, gone []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.table.RequestTimeout())
	defer cancel()
	return m.observer.lookAt(ctx, table)
}

// waitForOlder ends all deliveries: an older receiver delivers all of the buffer.
func (m *member) waitForOlder() {
	if !m.waiting {
		m.Logger.Info("An older receiver delivers from the buffer; this one delivers when it has stopped")
	}
	m.waiting = true
	m.Before(true)
	m.loseAll()
}

// forget has one of the members remove the leases of those that are gone.
func (m *member) forget(ctx context.Context, gone []string, table *Table) {
	if table.Holders[0] == m.ID {
		_ = m.observer.forget(ctx, gone, table) // else later
	}
}

// apply does what a table says that is written now.
func (m *member) apply(ctx, held context.Context, next *change) {
	if ctx.Err() != nil { // the next step gives up what this one took
		next.start = nil
	}
	for _, partition := range next.start {
		delete(m.free, partition)
		m.start(ctx, held, partition)
	}
	if len(next.start) > 0 {
		m.Delivering(len(m.runs))
		m.Logger.Info("Took over partitions of the buffer", "partitions", next.start, "delivers", len(m.runs))
	}
	m.stopMoving(next.table)
}

// next returns the table as this member wants it: one that stops gives up what it does not deliver any more, and takes nothing.
func (m *member) next(ctx context.Context, table *Table, alive map[string]bool) *change {
	next := &change{table: table.clone()}
	t := next.table
	for partition, holder := range t.Holders {
		// A partition that this member holds and does not deliver: its delivery has ended, or the answer to taking it was lost.
		if holder != "" && !alive[holder] || holder == m.ID && m.runs[partition] == nil {
			t.Holders[partition] = ""
		}
	}
	t.Moving = without(t.Moving, func(partition int) bool { return t.Holders[partition] == "" })
	t.Stopping = without(t.Stopping, func(id string) bool { return !alive[id] })
	if ctx.Err() != nil {
		if !slices.Contains(t.Stopping, m.ID) {
			t.Stopping = append(t.Stopping, m.ID)
		}
		next.needs = t.encode() != table.encode()
		return next
	}
	takers := slices.Sorted(maps.Keys(alive))
	takers = without(takers, func(id string) bool { return slices.Contains(t.Stopping, id) })
	m.take(next, takers)
	if len(t.Moving) == 0 && !slices.Contains(t.Holders, "") {
		if partition, ok := Surplus(t.Holders, takers); ok && t.Holders[partition] == m.ID {
			t.Moving = append(t.Moving, partition)
		}
	}
	touch := t.Holders[0] == m.ID && time.Since(m.written) >= m.table.RenewInterval() // for older receivers
	next.needs = touch || len(next.start) > 0 || len(m.mine(table)) > 0 && t.encode() != table.encode()
	return next
}

// take takes the free partitions that are for this member, and those that nobody has taken for the lease time.
func (m *member) take(next *change, takers []string) {
	holders := next.table.Holders
	assigned := Assign(holders, takers)
	for partition := range holders {
		to, isFree := assigned[partition]
		if !isFree {
			delete(m.free, partition)
			continue
		}
		since, known := m.free[partition]
		if !known {
			since = time.Now()
			m.free[partition] = since
		}
		p := m.pauses[partition]
		paused := p != nil && time.Now().Before(p.until)
		if time.Since(m.started) < Settling || paused || m.runs[partition] != nil || to != m.ID && time.Since(since) < m.Time {
			continue
		}
		holders[partition] = m.ID
		next.start = append(next.start, partition)
	}
}
