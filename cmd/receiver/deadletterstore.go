package main

import (
	"context"
	"errors"
	"io"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// deadLetterStore gives access to the dead letters of a buffer: through the admin socket of a receiver ([socketClient]), or
// directly ([journalStore]).
type deadLetterStore interface {
	List(ctx context.Context, filter journal.DeadLetterFilter, after uint64) (admin.DeadLetterPage, error)
	Show(ctx context.Context, seq uint64, w io.Writer) error
	Redrive(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error)
	Purge(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error)
}

// journalStore is the store of a journal that this process has opened.
type journalStore struct{ deadLetters admin.DeadLetters }

func (s journalStore) List(ctx context.Context, filter journal.DeadLetterFilter, after uint64) (page admin.DeadLetterPage, err error) {
	page.DeadLetters, page.Next, err = s.deadLetters.DeadLetters(ctx, filter, after, journal.MaxDeadLetters)
	return page, err
}

func (s journalStore) Show(ctx context.Context, seq uint64, w io.Writer) error {
	info, event, err := s.deadLetters.DeadLetter(ctx, seq)
	if errors.Is(err, journal.ErrNotFound) {
		return admin.DeadLettersNotFoundError{Seqs: []uint64{seq}}
	}
	if err != nil {
		return err
	}
	return admin.WriteDeadLetter(w, info, event)
}

func (s journalStore) Redrive(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error) {
	selection, err := request.Selection()
	if err != nil {
		return journal.Progress{}, err
	}
	return s.deadLetters.Redrive(ctx, selection)
}

func (s journalStore) Purge(ctx context.Context, request admin.DeadLetterRequest) (journal.Progress, error) {
	selection, err := request.Selection()
	if err != nil {
		return journal.Progress{}, err
	}
	return s.deadLetters.Purge(ctx, selection)
}
